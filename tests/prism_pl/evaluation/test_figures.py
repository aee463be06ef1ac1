"""Every figure by hand, the intervals, and the comparison of two models."""

import math

import pytest

from prism_pl.evaluation.comparison import compare, mcnemar
from prism_pl.evaluation.figures import Outcome, Scored, figures


def scored(score: float, tokens: int | None = 10, well_formed: bool = True, truncated: bool = False) -> Scored:
    return Scored(score, tokens, well_formed, truncated)


def outcome(number: int, greedy: float | None, *samples: Scored, group: str | None = None) -> Outcome:
    source = f"set.jsonl:{number}"
    return Outcome(source, group or source, None if greedy is None else scored(greedy), samples)


SAMPLED = [
    outcome(1, 1, scored(1, 5), scored(1, 9), scored(0, 12, False, True), scored(0, 6)),
    outcome(2, 0, scored(0, 4), scored(0, 4), scored(0, 4), scored(0, 4)),
    outcome(3, 1, scored(1, 8), scored(1, 8), scored(1, 8), scored(1, 12)),
    outcome(4, 1, scored(1, 20, True, True), scored(0, 3), scored(0, 3), scored(0, 2, False)),
]


def test_figures_of_greedy_responses_and_samples() -> None:
    found = figures(SAMPLED, budgets=[8])
    means = {name: value.mean for name, value in found.items()}
    assert means["greedy"] == 0.75
    # Means a question: 2/4, 0, 4/4, 1/4.
    assert means["avg@4"] == pytest.approx(1.75 / 4)
    # pass@2 = 1 - C(n - c, 2) / C(4, 2): 1 - 1/6, 0, 1, 1 - 3/6.
    assert means["pass@2"] == pytest.approx((5 / 6 + 0 + 1 + 0.5) / 4)
    assert means["pass@4"] == 0.75
    # Of 16 samples two are malformed and two are cut.
    assert (means["format"], means["truncated"]) == (14 / 16, 2 / 16)
    # 32 + 16 + 36 + 28 tokens.
    assert means["tokens"] == 112 / 16
    # Right within 8 tokens: one of question 1's, none of 2's, three of 3's, none of 4's.
    assert means["within_8"] == 4 / 16
    assert (means["greedy_within_8"], means["greedy_tokens"], means["greedy_truncated"]) == (0, 10, 0)
    for name, value in found.items():
        assert value.low is not None, name
        assert value.high is not None, name
        assert value.low <= value.mean <= value.high, name


def test_one_answer_a_question_has_wilsons_interval() -> None:
    found = figures([outcome(number, float(number <= 3), scored(float(number > 3))) for number in range(1, 5)])
    # (p + z^2 / 8 -+ z sqrt(p (1 - p) / 4 + z^2 / 64)) / (1 + z^2 / 4) with z = 1.959964, as in tests/callbacks.
    assert (found["greedy"].low, found["greedy"].high) == pytest.approx((0.300642, 0.954413), abs=1e-6)
    # 1 of 4 is the mirror of 3 of 4.
    assert (found["avg@1"].low, found["avg@1"].high) == pytest.approx((1 - 0.954413, 1 - 0.300642), abs=1e-6)
    # All of 4: z^2 / (4 + z^2) is left below.
    z2 = 1.959964**2
    assert (found["format"].low, found["format"].high) == pytest.approx((4 / (4 + z2), 1))
    assert "pass@1" not in found


def test_several_answers_are_drawn_by_question() -> None:
    # Two questions, four equal answers each. Drawn: both the first (1/4), one each (1/2), both the second (1/4).
    found = figures([outcome(1, None, *[scored(1)] * 4), outcome(2, None, *[scored(0)] * 4)])["avg@4"]
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)


def test_questions_of_one_group_count_as_one() -> None:
    single = [outcome(number, float(number % 2)) for number in range(200)]
    tripled = [
        outcome(3 * number + copy, float(number % 2), group=f"problem {number}")
        for number in range(200)
        for copy in range(3)
    ]
    # Three copies of each question say no more than one: sqrt(p (1 - p) / 200) stays.
    half = 1.959964 * math.sqrt(0.25 / 200)
    for outcomes in (single, tripled):
        found = figures(outcomes)["greedy"]
        assert found.mean == 0.5
        assert found.low is not None
        assert found.high is not None
        assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)
    # As 600 questions of their own they would say more: the square root of 3.
    alone = figures([outcome(number, float(number % 2)) for number in range(600)])["greedy"]
    assert alone.high is not None
    assert alone.high - 0.5 == pytest.approx(half / math.sqrt(3), rel=0.06)


def test_groups_of_different_sizes_weigh_by_their_questions() -> None:
    outcomes = [outcome(1, 1, group="a"), *(outcome(number, 0, group="b") for number in (2, 3, 4))]
    found = figures(outcomes)["greedy"]
    # Drawn a and a: 1; a and b: 1/4; b and b: 0.
    assert (found.mean, found.low, found.high) == (0.25, 0.0, 1.0)
    assert figures([outcome(1, 1, group="a"), outcome(2, 0, group="a")])["greedy"].low is None
    # 100 groups of one right question and 100 of three wrong ones: the ratio r = 100 / 400. Its variance by the delta
    # method: the sum of (right - r questions)^2 over groups, (100 0.75^2 + 100 0.75^2) / 400^2.
    outcomes = [outcome(number, 1, group=f"a{number}") for number in range(100)]
    outcomes += [outcome(1000 + number, 0, group=f"b{number // 3}") for number in range(300)]
    found = figures(outcomes)["greedy"]
    half = 1.959964 * math.sqrt(112.5) / 400
    assert (found.low, found.high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.006)


def test_unknown_lengths_leave_out_what_needs_them() -> None:
    found = figures([outcome(1, None, scored(1, None)), outcome(2, None, scored(0, 4))], budgets=[8])
    assert sorted(found) == ["avg@1", "format", "truncated"]


def test_two_models_on_the_same_questions() -> None:
    # Of eight questions the model alone solves 1 to 3, the reference alone 4; question 9 only the reference has.
    model = [outcome(number, float(number in (1, 2, 3, 5)), scored(1)) for number in range(1, 9)]
    reference = [outcome(number, float(number in (4, 5, 9)), scored(0)) for number in range(9, 0, -1)]
    found = compare(model, reference)
    assert found is not None
    assert (found.questions, found.gained, found.lost) == (8, 3, 1)
    assert found.differences["greedy"].mean == pytest.approx(2 / 8)
    # The differences are 1, 1, 1, -1, 0, 0, 0, 0: a normal interval has the half-width 1.96 sqrt((4/8 - 1/16) / 8) = 0.458.
    low, high = found.differences["greedy"].low, found.differences["greedy"].high
    assert low is not None
    assert high is not None
    assert (high - low) / 2 == pytest.approx(0.458, abs=0.05)
    # Without pairing it would be wider: the questions that both solve or miss would count.
    assert found.differences["avg@1"].mean == 1
    # Four tosses, at most one on one side: 2 (1 + 4) / 16.
    assert found.p_value == 0.625
    assert compare(model, [outcome(99, 1.0, scored(1))]) is None
    assert compare([outcome(1, 1.0)], [outcome(1, None, scored(1))]) is None


def test_mcnemars_p_is_left_out_where_questions_share_a_group() -> None:
    pair = [outcome(1, 1, group="a"), outcome(2, 1, group="a"), outcome(3, 0, group="b")]
    found = compare(pair, [outcome(number, 0, group="x") for number in (1, 2, 3)])
    assert found is not None
    assert (found.gained, found.p_value) == (2, None)


def test_mcnemars_p_by_hand() -> None:
    assert mcnemar(0, 0) == 1
    # Ten against none: 2 / 1024. The side does not matter.
    assert mcnemar(10, 0) == mcnemar(0, 10) == 2 / 1024
    # Of ten, at most 2 on one side: 2 (1 + 10 + 45) / 1024.
    assert mcnemar(8, 2) == 112 / 1024
    assert mcnemar(5, 5) == 1
    # More tosses than a float has exponents for.
    assert mcnemar(2000, 2000) == 1
