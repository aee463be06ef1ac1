"""Which prompts are shown."""

import json
from pathlib import Path

from prism_pl.report.collect import collect
from prism_pl.report.samples import choose
from tests.prism_pl.report.fake_run import fake_run, record, response


def test_mended_prompts_come_first_and_changes_are_counted(tmp_path: Path) -> None:
    folder = fake_run(tmp_path)
    rows = [record(i, tmp_path / "digits.png", response(1, 1, "7"), True, i in (0, 8), 10) for i in range(10)]
    (folder / "sft" / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [record(i, tmp_path / "digits.png", response(1, 1, "7"), True, i in (6, 8), 10) for i in range(10)]
    (folder / "rlvr" / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    choice = choose(collect(folder))
    assert choice is not None
    assert (choice.mended, choice.spoilt, choice.total) == (1, 1, 10)
    assert [shown.prompt.source for shown in choice.shown][:2] == ["gone.jsonl:7", "gone.jsonl:1"]
    assert set(choice.shown[0].responses) == {"sft", "align", "rlvr"}
