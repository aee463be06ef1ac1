"""Whole fits of a few updates, through the command line."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

import callbacks
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.runs.files import read_lines
from tests.command_line import run


def fit(config: Path, folder: Path, *arguments: str, run_folder: type[callbacks.RunFolder] = callbacks.RunFolder) -> None:
    """One ``python -m prism_pl fit`` in this process."""
    quiet = ("--trainer.logger=false", "--trainer.enable_progress_bar=false")
    common = ("fit", "--config", str(config), "--run_dir", str(folder))
    assert run(*common, *arguments, *quiet, run_folder=run_folder) == 0


def with_engine(config: str, folder: Path) -> Path:
    """The repository's configuration with the engine that needs no start-up, short responses and small evaluations.

    Stages that start from the demo's base start from the untrained model.
    """
    content = yaml.safe_load((Path("configs") / config).read_text().replace("runs/demo/base/model", EMBEDDED_NAME))
    for callback in content["trainer"].get("callbacks", []):
        options = callback.get("init_args", {})
        if callback["class_path"] == "RolloutCallback":
            options["engine"] = {"class_path": "TransformersEngine"}
            options["sampling"]["max_new_tokens"] = 48
        if callback["class_path"] == "EvaluationCallback":
            options |= {"max_new_tokens": 48, "num_prompts": 8, "num_final": 8}
        if callback["class_path"] == "ConvergenceProbe":
            # A discriminator that has learnt for one step says nothing that should end a stage.
            options |= {"max_new_tokens": 48, "num_prompts": 8, "training": {"steps": 1}, "stop_below": None}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / config
    path.write_text(yaml.safe_dump(content))
    return path


def finished_updates(folder: Path) -> int:
    return json.loads((folder / "finished.json").read_text())["updates"]


def logged(folder: Path, name: str) -> list[dict[str, Any]]:
    """The lines of a run's metrics that hold this one."""
    return [line for line in read_lines(folder / "metrics.jsonl") if name in line]


def once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A run folder for all files that need it: the first of the worker processes makes it, the others wait for it."""
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent  # above the folder of each worker
    folder = session / "fits" / name
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "finished.json").exists():
            make(folder)
    return folder
