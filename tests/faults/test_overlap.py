"""Faults of runs whose engine samples ahead in a process of its own."""

import logging
import os
import signal
from pathlib import Path

import psutil
import pytest
import yaml

from prism_pl.runs.files import read_lines
from tests import launchers
from tests.modules.aligning import arguments, wait_for, write_config
from tests.modules.fits import finished_updates, fit, logged
from tests.modules.small_stages import Content, write

pytestmark = pytest.mark.faults

UPDATES = 6


def ahead(folder: Path, *callbacks: Content, engine: str = "TransformersEngine", **rollout: object) -> Path:
    """Alignment with one batch ahead; all responses are logged."""
    file = write_config(folder)
    content = yaml.safe_load(file.read_text())
    process = {"class_path": "ProcessEngine", "init_args": {"engine": {"class_path": engine}, "threads": 1}}
    content["trainer"]["callbacks"][0]["init_args"] |= {"engine": process, "overlap": 1} | rollout
    content["trainer"]["callbacks"] += [{"class_path": "SampleLog"}, *callbacks]
    return write(content, file)


def options(file: Path, folder: Path) -> list[str]:
    return arguments(
        file, folder, trainer__max_steps=str(UPDATES), trainer__enable_progress_bar="false",
        checkpoint__every_n_train_steps="1", trainer__accelerator="cpu",
    )  # fmt: skip


def prompts(folder: Path) -> dict[int, set[str]]:
    """Whose responses each update has learnt from."""
    found: dict[int, set[str]] = {}
    for line in read_lines(folder / "samples.jsonl"):
        found.setdefault(line["step"], set()).add(line["source"])
    return found


def test_a_trainer_that_is_killed_leaves_no_engine_and_resumes_at_the_same_prompts(tmp_path: Path) -> None:
    file = ahead(tmp_path)
    launchers.alone(options(file, tmp_path / "whole"), tmp_path / "whole-log").finish()
    for number in range(2):
        running = launchers.alone(options(file, tmp_path / "run"), tmp_path / f"log-{number}")
        wait_for(lambda running=running: running.alive, tmp_path / "run", 2 * number + 1)
        (process,) = running.started
        children = psutil.Process(process.pid).children(recursive=True)
        assert any("spawn_main" in " ".join(child.cmdline()) for child in children)
        # The trainer alone: its engine has to notice.
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert psutil.wait_procs(children, timeout=60)[1] == []
    launchers.alone(options(file, tmp_path / "run"), tmp_path / "log-last").finish()
    assert finished_updates(tmp_path / "run") == UPDATES
    assert prompts(tmp_path / "run") == prompts(tmp_path / "whole")
    assert sorted(prompts(tmp_path / "run")) == list(range(1, UPDATES + 1))


def test_an_engine_that_is_killed_in_a_batch_costs_that_batch_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It has begun with the fourth batch while the third is learnt from."""
    broken = {"class_path": "tests.faults.breaking.Break", "init_args": {"what": "kill_engine"}}
    with caplog.at_level(logging.WARNING):
        fit(ahead(tmp_path, broken), tmp_path / "run", *options(tmp_path / "align.yaml", tmp_path / "run")[4:])
    assert finished_updates(tmp_path / "run") == UPDATES
    assert "The engine's process ended with code -9." in caplog.text
    # The batch was sampled anew with the weights that were there by then.
    ages = {line["step"]: line["rollout/staleness"] for line in logged(tmp_path / "run", "rollout/staleness")}
    # Or, if it had not even taken those of before, with them.
    assert ages.pop(4) in (0, 1)
    assert ages == {1: 0, 2: 1, 3: 1, 5: 1, 6: 1}


def test_an_engine_that_keeps_old_weights_is_found_by_the_probe(tmp_path: Path) -> None:
    """Though it says that they are new."""
    file = ahead(tmp_path, engine="tests.faults.breaking.StaleEngine", probe={"every": 1})
    content = yaml.safe_load(file.read_text())
    content["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 1e-2
    with pytest.raises(
        RuntimeError, match=r"Log-prob probe failed before update [23456] on rank 0: .*does not sample from"
    ):
        fit(write(content, file), tmp_path / "run", *options(file, tmp_path / "run")[4:])
