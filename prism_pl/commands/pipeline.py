"""Runs stages in order and hands the Hugging Face folders over.

A stage is done when its ``finished.json`` is there and it was made from the present outputs of the stages it reads; then it
is skipped. A stage cut short resumes; one whose inputs have changed is set aside and run anew.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from prism_pl.commands.report import report
from prism_pl.errors import UserError
from prism_pl.ranges import NonNegativeInt
from prism_pl.runs.files import FINISHED_MARK, set_aside, stage_identity

_INPUTS = "inputs.json"


@dataclass(frozen=True)
class Stage:
    """One ``fit``."""

    name: str
    """Its folder under the run's."""
    config: str
    """Configuration file, in the current folder or in ``configs/``."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Configuration key to the stage whose ``model/`` it takes."""
    options: dict[str, str] = field(default_factory=dict)
    """Further overrides, key to value."""


def pipeline(run_dir: str, stages: list[Stage], seed: NonNegativeInt = 0) -> None:
    """Runs stages in order, each from the models of those before it, and writes the report.

    A finished stage is skipped, one cut short resumes.

    Args:
        run_dir: folder of all stages.
        stages: the stages in order, in the configuration.
        seed: of every stage.
    """
    run_pipeline(Path(run_dir), stages, seed)
    report(run_dir)


def run_pipeline(run_dir: Path, stages: list[Stage], seed: int) -> None:
    """Raises UserError with the command to continue if a stage fails."""
    for stage in stages:
        folder = run_dir / stage.name
        made_from = {source: stage_identity(run_dir / source) for source in sorted(set(stage.inputs.values()))}
        made_from["seed"] = str(seed)
        if folder.exists() and _recorded(folder) != made_from:
            print(f"{stage.name}: made from other inputs, kept as {set_aside(folder)}", flush=True)
        if (folder / FINISHED_MARK).exists():
            print(f"{stage.name}: finished, skipped ({folder})", flush=True)
            continue
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _INPUTS).write_text(json.dumps(made_from), encoding="utf-8")
        print(f"{stage.name}: {stage.config} -> {folder}", flush=True)
        if subprocess.run(_command(run_dir, stage, seed), check=False).returncode:
            raise UserError(f"Stage {stage.name} failed; its own message is above. The same command continues from here.")


def _command(run_dir: Path, stage: Stage, seed: int) -> list[str]:
    command = [sys.executable, "-m", "prism_pl", "fit", "--config", stage.config]
    command += ["--run_dir", str(run_dir / stage.name), "--seed_everything", str(seed)]
    # Options first: one that names a class makes the command line forget that class's other values.
    for key, value in stage.options.items():
        command += [f"--{key}", str(value)]
    for key, source in stage.inputs.items():
        command += [f"--{key}", str(run_dir / source / "model")]
    return command


def _recorded(folder: Path) -> dict[str, str | None] | None:
    file = folder / _INPUTS
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
