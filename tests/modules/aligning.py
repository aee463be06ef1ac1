"""Alignment in processes of its own, small and quick, and what it has logged."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from prism_pl.runs.checkpoint import newest_checkpoint
from prism_pl.runs.files import read_lines
from tests import command_line

# Two prompts with four responses. The discriminator first learns on the fourth batch, after the checkpoint of update 2:
# there its optimizer has never stepped (torch would invent a step for it on a sharded model).
OPTIONS = {
    "trainer.max_steps": "5",
    "checkpoint.every_n_train_steps": "2",
    "data.batch_size": "2",
    "model.discriminator": "DenseDiscriminator",
    "model.cadence.discriminator_every": "4",
    "model.discriminator_loss.in_batch_weight": "1.0",
    "model.discriminator_loss.r1_weight": "0.1",
    "model.replay.prompts_per_update": "2",
    "model.kl_weight": "0.1",
    "model.policy.path": "embedded/digits",
    "trainer.logger": "false",
}


def write_config(folder: Path) -> Path:
    """The repository's configuration with its rollouts alone, which are short."""
    content = yaml.safe_load(Path("configs/align.yaml").read_text())
    kept = []
    for callback in content["trainer"]["callbacks"]:
        if callback["class_path"] == "RolloutCallback":
            callback["init_args"]["engine"] = {"class_path": "TransformersEngine"}
            callback["init_args"]["sampling"] |= {"max_new_tokens": 24, "group_size": 4}
            kept.append(callback)
    content["trainer"]["callbacks"] = kept
    # The start model is untrained, so its responses are malformed: the discriminator gets the in-batch pairs alone.
    path = folder / "align.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def arguments(config: Path, folder: Path, **options: str) -> list[str]:
    """``options`` have ``__`` for a dot."""
    chosen = OPTIONS | {key.replace("__", "."): value for key, value in options.items()}
    return ["--config", str(config), "--run_dir", str(folder), *(f"--{key}={value}" for key, value in chosen.items())]


def start(config: Path, folder: Path, **options: str) -> "subprocess.Popen[str]":
    """``options`` have ``__`` for a dot."""
    return command_line.start("fit", *arguments(config, folder, **options))


def wait_for(running: Callable[[], bool], folder: Path, step: int) -> None:
    """Until ``step`` is logged and a checkpoint is whole."""
    while not (newest_checkpoint(folder) and any(line["step"] >= step for line in read_lines(folder / "metrics.jsonl"))):
        assert running(), "the run ended before it could be killed"
        time.sleep(0.02)


def kill_after(process: "subprocess.Popen[str]", folder: Path, step: int) -> None:
    """kill -9 of all the run's processes once ``step`` is logged."""
    wait_for(lambda: process.poll() is None, folder, step)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "finished.json").exists()


def metrics(folder: Path) -> dict[int, dict[str, Any]]:
    """Everything that was logged, by step, but for what depends on the clock."""
    found: dict[int, dict[str, Any]] = {}
    for line in read_lines(folder / "metrics.jsonl"):
        timeless = {k: v for k, v in line.items() if not k.startswith("seconds/") and "per_second" not in k}
        found.setdefault(line["step"], {}).update(timeless)
    return found


OF_A_RANK = ("margin/", "probe_gap", "image/swap_", "packing/")


def assert_same_metrics(one: Path, two: Path) -> None:
    """Two runs on different numbers of ranks logged the same.

    Left out is what is of a rank by definition: percentiles of its own pairs, the probe of its own first prompt, its
    held-out images swapped among themselves, and how long it waited for the others.
    """
    expected, found = metrics(one), metrics(two)
    assert sorted(expected) == sorted(found)
    for step, line in expected.items():
        keys, others = ({k for k in own if not any(part in k for part in OF_A_RANK)} for own in (line, found[step]))
        assert keys == others, (two, step)
        for key in keys:
            assert found[step][key] == pytest.approx(line[key], abs=1e-4, rel=1e-4), (two, step, key)
