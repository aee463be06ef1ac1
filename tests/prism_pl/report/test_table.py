"""The table against figures worked out by hand."""

from pathlib import Path

import pytest

from prism_pl.report.collect import collect
from prism_pl.report.table import Share, make_rows
from tests.prism_pl.report.fake_run import fake_run, record, response, write_stage


def test_wilson_interval_by_hand() -> None:
    # p = 0.8, n = 10, z^2 = 3.841459: centre (0.8 + 0.19207295) / 1.3841459 = 0.71674,
    # half 1.959964 * sqrt(0.016 + 0.009603648) / 1.3841459 = 0.22657.
    low, high = Share(8, 10).interval
    assert (low, high) == (pytest.approx(0.71674 - 0.22657, abs=2e-5), pytest.approx(0.71674 + 0.22657, abs=2e-5))
    # With no hit the upper bound is z^2 / (n + z^2).
    assert Share(0, 10).interval == (0.0, pytest.approx(3.841459 / 13.841459, abs=1e-6))
    assert Share(10, 10).interval == (pytest.approx(10 / 13.841459, abs=1e-6), 1.0)


def test_table_of_the_fake_run(tmp_path: Path) -> None:
    run = collect(fake_run(tmp_path))
    assert run.missing == ()
    teacher, sft, align, rlvr = make_rows(run, (), [])
    assert (teacher.name, teacher.accuracy, teacher.format) == ("teacher", Share(10, 10), Share(10, 10))
    assert (teacher.sampled, teacher.tokens) == (None, None)
    assert (sft.accuracy, sft.sampled, sft.format, sft.tokens) == (Share(4, 10), Share(0, 10), Share(9, 10), 12.0)
    assert (align.accuracy, align.sampled, align.format) == (Share(5, 10), Share(5, 10), Share(10, 10))
    assert (rlvr.accuracy, rlvr.tokens) == (Share(10, 10), 20.0)


def test_the_teacher_is_graded_with_its_rows_options(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    base = record(0, image, response(1, 1, "B"), True, True, 10) | {"answer": "B"}
    texts = ("14 cm", "12 cm", "14 cm")
    options = (["12 cm", "14 cm"], ["12 cm", "14 cm"], [])
    rows = [
        base | {"source": f"gone.jsonl:{n}", "teacher": response(1, 1, text), "options": own}
        for n, (text, own) in enumerate(zip(texts, options, strict=True), start=1)
    ]
    del rows[2]["options"]  # a run of before they were recorded
    write_stage(tmp_path / "run" / "sft", [{"step": 1, "sft/loss": 2.0}], rows)
    teacher = make_rows(collect(tmp_path / "run"), (), [])[0]
    # The value of B is right, that of A is wrong; without options a value is no letter.
    assert teacher.accuracy == Share(1, 3)
