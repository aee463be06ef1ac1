"""What is read of a run folder."""

from pathlib import Path

from prism_pl.report.collect import Series, collect
from tests.prism_pl.report.fake_run import write_stage


def test_the_last_value_of_a_step_counts(tmp_path: Path) -> None:
    lines = [{"step": 2, "a": 1.0}, {"step": 1, "a": 3.0}, {"step": 2, "b": 5.0}, {"step": 2, "a": 2.0}]
    write_stage(tmp_path / "sft", lines, [])
    stage = collect(tmp_path).stages["sft"]
    assert stage.series("a") == Series((1, 2), (3.0, 2.0))
    assert not stage.series("c")
