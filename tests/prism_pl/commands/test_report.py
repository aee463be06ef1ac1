"""``report`` as a command."""

from pathlib import Path

import pytest
import wandb

from prism_pl.commands.report import report
from tests.prism_pl.report.fake_run import fake_run


def test_where_the_page_is_is_said_before_wandb_can_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(wandb.errors.UsageError, match="Invalid project name"):
        report([str(fake_run(tmp_path))], wandb="no/project")
    assert capsys.readouterr().out.endswith(f"\n\n{tmp_path / 'report.html'}\n")
    assert (tmp_path / "report.html").exists()
