"""The pipeline skips what is finished, resumes what is not, and redoes what follows a change. Stages are tiny programs."""

import json
import sys
from pathlib import Path

import pytest

from prism_pl.commands import pipeline
from prism_pl.commands.pipeline import Stage, run_pipeline
from prism_pl.runs.files import finish, stage_identity

STAGES = [
    Stage("a", "a.yaml"),
    Stage("b", "b.yaml", {"model.policy.path": "a"}),
    Stage("c", "c.yaml", {"model.policy.path": "b"}),
]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces the training command by one that notes its name in the stage's folder."""
    log: list[str] = []

    def command(run_dir: Path, stage: Stage, seed: int) -> list[str]:
        log.append(stage.name)
        finish(run_dir / stage.name, 1, None)
        return [sys.executable, "-c", "pass"]

    monkeypatch.setattr(pipeline, "_command", command)
    return log


def test_a_second_run_skips_everything(tmp_path: Path, runs: list[str]) -> None:
    run_pipeline(tmp_path, STAGES, 0)
    run_pipeline(tmp_path, STAGES, 0)
    assert runs == ["a", "b", "c"]


def test_a_removed_stage_is_redone_with_all_that_follows(tmp_path: Path, runs: list[str]) -> None:
    run_pipeline(tmp_path, STAGES, 0)
    for file in (tmp_path / "b").iterdir():
        file.unlink()
    (tmp_path / "b").rmdir()
    run_pipeline(tmp_path, STAGES, 0)
    assert runs == ["a", "b", "c", "b", "c"]
    # The old third stage was made from the old second one; it is kept.
    assert (tmp_path / "c.1" / "finished.json").exists()
    assert json.loads((tmp_path / "c" / "inputs.json").read_text())["b"] == stage_identity(tmp_path / "b")


def test_another_seed_starts_anew(tmp_path: Path, runs: list[str]) -> None:
    run_pipeline(tmp_path, STAGES, 0)
    run_pipeline(tmp_path, STAGES, 1)
    assert runs == ["a", "b", "c", "a", "b", "c"]


def test_the_command_hands_the_model_folders_over(tmp_path: Path) -> None:
    command = pipeline._command(tmp_path, STAGES[1], 3)
    assert command[1:] == [
        "-m", "prism_pl", "fit", "--config", "b.yaml", "--run_dir", str(tmp_path / "b"), "--seed_everything", "3",
        "--model.policy.path", str(tmp_path / "a" / "model"),
    ]  # fmt: skip
