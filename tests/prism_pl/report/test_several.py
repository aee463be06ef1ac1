"""Several runs against each other: labels, paired differences worked out by hand, and the page."""

import json
from pathlib import Path

import pytest

from prism_pl.errors import UserError
from prism_pl.report import build_comparison
from prism_pl.report.several import across, label_runs, labels, shared_stages
from tests.command_line import captured
from tests.prism_pl.report.fake_run import branched_run, fake_run, record, response, write_stage


def two_runs(folder: Path) -> list[Path]:
    """A run with branches, and one without, whose SFT solves prompts 3 to 8 and whose first row is another prompt."""
    first, second = branched_run(folder / "a" / "run"), fake_run(folder / "b" / "run")
    rows = [record(i, folder / "gone.png", response(1, 1, "7"), 3 <= i < 9, i == 0, 10) for i in range(10)]
    rows[0]["question"] = "Difference?"
    (second / "sft" / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [first, second]


def test_labels_are_what_differs_of_the_paths() -> None:
    assert labels([Path("/x/seed0/demo"), Path("/x/seed1/demo")]) == ["seed0", "seed1"]
    assert labels([Path("runs/a"), Path("runs/b")]) == ["a", "b"]
    assert labels([Path("/x/demo"), Path("/x/demo/demo"), Path("/x/y/z")]) == ["demo", "demo/demo", "y/z"]
    with pytest.raises(UserError, match=r"runs/\.\./runs/a is given twice"):
        labels([Path("runs/b"), Path("runs/../runs/a"), Path("runs/a")])


def test_stages_of_one_name_are_paired_over_their_shared_prompts(tmp_path: Path) -> None:
    runs = label_runs(two_runs(tmp_path))
    assert list(shared_stages(runs)) == ["sft", "warmup", "align", "rlvr"]
    sft, align, rlvr = across(runs)
    assert (sft.own.title, sft.other.title, sft.prompts) == ("b: SFT", "a: SFT", 9)
    # Of prompts 1 to 9 the first run solves 1, 2 and 3, the second 3 to 8: five gained, two lost.
    assert (sft.gained, sft.lost) == (5, 2)
    assert sft.greedy.mean == pytest.approx(3 / 9)
    # McNemar: 2 * (1 + 7 + 21) / 2^7.
    assert sft.p_value == pytest.approx(58 / 128)
    # Equal in every prompt: no draw differs.
    assert (align.greedy.mean, align.greedy.low, align.greedy.high, align.prompts) == (0, 0, 0, 10)
    assert (rlvr.own.title, rlvr.other.title) == ("b: RLVR", "a: RLVR after alignment")


def test_runs_that_end_in_other_stages_are_compared_at_their_ends(tmp_path: Path) -> None:
    first = fake_run(tmp_path / "a")
    rows = [record(i, tmp_path / "gone.png", response(1, 1, "7"), i < 4, True, 10) for i in range(10)]
    write_stage(tmp_path / "b" / "rlvr_dapo", [], rows)
    (found,) = across(label_runs([first, tmp_path / "b"]))
    assert (found.own.title, found.other.title, found.gained, found.lost) == ("b: RLVR", "a: RLVR", 0, 6)


def test_the_page_shows_both_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = two_runs(tmp_path)
    code, out, _ = captured(capsys, "report", *map(str, folders), "--out", str(tmp_path / "page.html"), "--samples", "3")
    assert code == 0
    lines = out.splitlines()
    # The teacher once, five stages of one run and three of the other.
    names = ["a: base", "a: SFT", "a: RLVR without alignment", "a: aligned", "a: RLVR after alignment"]
    expected = ["stage", "teacher", *names, "b: SFT", "b: aligned", "b: RLVR"]
    assert [line.split("  ")[0] for line in lines[:10]] == expected
    assert any(line.startswith("b: SFT is 33.3 points above a: SFT [") for line in lines)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not (folders[0] / "comparison.html").exists()
    assert html.count("<article") == 3
    # Alignment's two gaps, two discriminators have one evaluation each; RLVR's reward has a hundred steps.
    assert [title in html for title in ("Curves: SFT", "Curves: aligned", "Curves: RLVR")] == [False, True, True]
    assert "Reward gaps under the discriminator: not measured" in html


def test_the_page_lies_in_the_first_run_and_needs_a_shared_prompt(tmp_path: Path) -> None:
    first = fake_run(tmp_path / "a")
    write_stage(tmp_path / "b" / "sft", [{"step": 1, "sft/loss": 1.0}], [])
    page = build_comparison([first, tmp_path / "b"])
    assert page == first / "comparison.html"
    assert "No held-out prompt of a was answered by a stage of the same name in another run." in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        ([], "runs: it is required"),
        (["--runs", "[]"], "no run is given"),
        (["--run_dir", "x"], "run_dir"),
        (["x", "--samples", "0"], "samples"),
    ],
)
def test_mistakes_are_one_paragraph(arguments: list[str], mistake: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = captured(capsys, "report", *arguments)
    assert code == 2
    assert mistake in errors
