"""Paired differences against binomial quantiles worked out by hand, and their words."""

from dataclasses import replace
from pathlib import Path

import pytest

from prism_pl.report.collect import collect
from prism_pl.report.comparisons import compare, gains, verdict
from tests.prism_pl.report.fake_run import branched_run, fake_run, write_stage


def test_a_difference_is_over_the_shared_prompts(tmp_path: Path) -> None:
    run = collect(branched_run(tmp_path))
    found = verdict(run)
    assert found is not None
    assert (found.own.name, found.other.name, found.prompts) == ("rlvr", "direct", 9)
    # Greedy: 9 of 9 right against 5. A draw is binomial, n = 9, p = 4/9: P(0) = 0.005, P(<= 1) = 0.041, so the 2.5 %
    # quantile is 1; P(<= 6) = 0.957, P(<= 7) = 0.991, so the 97.5 % quantile is 7.
    assert (found.greedy.mean, found.greedy.low, found.greedy.high) == pytest.approx((4 / 9, 1 / 9, 7 / 9))
    # Sampled: 9 against 8. n = 9, p = 1/9: P(0) = 0.346; P(<= 2) = 0.938, P(<= 3) = 0.989.
    assert (found.sampled.mean, found.sampled.low, found.sampled.high) == pytest.approx((1 / 9, 0, 3 / 9))


def test_each_stage_is_compared_with_its_start(tmp_path: Path) -> None:
    found = gains(collect(branched_run(tmp_path)))
    assert [(own.own.name, own.other.name) for own in found] == [
        ("sft", "base"), ("direct", "sft"), ("align", "sft"), ("rlvr", "align"),
    ]  # fmt: skip
    # SFT is right in prompts 0 to 3, RLVR without alignment in 0 to 4, alignment in 0 to 4, RLVR in all of 10.
    assert [(own.gained, own.lost) for own in found] == [(4, 0), (1, 0), (1, 0), (5, 0)]
    assert [own.p_value for own in found] == [2 / 2**4, 1.0, 1.0, 2 / 2**5]


def test_a_row_that_is_another_prompt_now_is_not_compared(tmp_path: Path) -> None:
    run = collect(branched_run(tmp_path))
    rlvr, align = run.stages["rlvr"], run.stages["align"]
    other = tuple(replace(record, question="Difference?") if i < 7 else record for i, record in enumerate(align.heldout))
    found = compare(rlvr, replace(align, heldout=other))
    assert found is not None
    # The last three of ten, of which alignment has none right.
    assert (found.prompts, found.gained, found.lost) == (3, 3, 0)


def test_differences_in_words(tmp_path: Path) -> None:
    run = collect(branched_run(tmp_path))

    def words(own: str, other: str) -> str:
        found = compare(run.stages[own], run.stages[other])
        assert found is not None
        return found.sentence

    doubt = "; the interval holds 0, so these prompts do not tell them apart."
    assert words("rlvr", "base") == "RLVR after alignment is 100.0 points above base [+100.0, +100.0], greedy, 10 prompts."
    # 5 of 10 against 10: n = 10, p = 1/2, quantiles 2 and 8.
    assert words("align", "rlvr") == "aligned is 50.0 points below RLVR after alignment [-80.0, -20.0], greedy, 10 prompts."
    # Right in the same 5 of 9.
    same = "aligned is level with RLVR without alignment [+0.0, +0.0], greedy, 9 prompts"
    assert words("align", "direct") == same + doubt
    # 5 of 10 against 4: n = 10, p = 1/10, quantiles 0 and 3.
    assert words("align", "sft") == "aligned is 10.0 points above SFT [+0.0, +30.0], greedy, 10 prompts" + doubt


def test_one_line_of_rlvr_has_no_verdict_and_no_shared_prompt_no_difference(tmp_path: Path) -> None:
    run = collect(fake_run(tmp_path))
    assert verdict(run) is None
    write_stage(tmp_path / "unasked", [], [])
    run = collect(tmp_path)
    assert compare(run.stages["rlvr"], run.stages["unasked"]) is None
