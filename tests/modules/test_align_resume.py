"""Alignment in processes of its own: killed and resumed, and on two of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from prism_pl.commands.export import export
from prism_pl.runs.files import read_lines

# Small and quick: two prompts with four responses. The discriminator first learns on the fourth batch, after the checkpoint
# of update 2: there its optimizer has never stepped (torch would invent a step for it on a sharded model).
OPTIONS = {
    "trainer.max_steps": "5",
    "checkpoint.every_n_train_steps": "2",
    "data.batch_size": "2",
    "model.discriminator": "DenseDiscriminator",
    "model.cadence.discriminator_every": "4",
    "model.objective.in_batch_weight": "1.0",
    "model.objective.r1_weight": "0.1",
    "model.negatives.prompts_per_update": "2",
    "model.policy": "embedded/digits",
    "trainer.logger": "false",
}

SHARDED = {"trainer__devices": "2", "trainer__strategy": "fsdp2", "trainer__accelerator": "cpu"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = yaml.safe_load(Path("configs/align.yaml").read_text())
    kept = []
    for callback in content["trainer"]["callbacks"]:
        if callback["class_path"] == "RolloutCallback":
            callback["init_args"]["engine"] = {"class_path": "TransformersEngine"}
            callback["init_args"]["sampling"] |= {"max_new_tokens": 24, "group_size": 4}
            kept.append(callback)
    content["trainer"]["callbacks"] = kept
    # The start model is untrained, so its responses are malformed: the discriminator gets the in_batch pairs alone.
    path = tmp_path_factory.mktemp("config") / "align.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def start(config: Path, folder: Path, **options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "prism_pl", "fit", "--config", str(config), "--run_dir", str(folder)]
    for key, value in (OPTIONS | {key.replace("__", "."): value for key, value in options.items()}).items():
        command.append(f"--{key}={value}")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(process: "subprocess.Popen[str]") -> None:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-3000:]


def metrics(folder: Path) -> dict[int, dict[str, Any]]:
    """Everything that was logged, by step, but for what depends on the clock."""
    found: dict[int, dict[str, Any]] = {}
    for line in read_lines(folder / "metrics.jsonl"):
        timeless = {k: v for k, v in line.items() if not k.startswith("seconds/") and "per_second" not in k}
        found.setdefault(line["step"], {}).update(timeless)
    return found


def kill_after(process: "subprocess.Popen[str]", folder: Path, step: int) -> None:
    """kill -9 of all the run's processes once ``step`` is logged."""
    while not any(line["step"] >= step for line in read_lines(folder / "metrics.jsonl")):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "finished.json").exists()


def test_killed_and_resumed_alignment_gives_the_same_metrics(config: Path, tmp_path: Path) -> None:
    finish(start(config, tmp_path / "whole"))
    kill_after(start(config, tmp_path / "killed"), tmp_path / "killed", 3)
    finish(start(config, tmp_path / "killed"))
    whole, killed = metrics(tmp_path / "whole"), metrics(tmp_path / "killed")
    assert sorted(whole) == sorted(killed) == [1, 2, 3, 4, 5]
    for step in whole:
        # The engine is proven again after a resume: one probe more than in the whole run.
        own = {key: value for key, value in killed[step].items() if key in whole[step] or key != "rollout/probe_gap"}
        assert own == whole[step], f"step {step}"
    assert "discriminator/gradient_norm" not in whole[3]
    assert whole[4]["discriminator/gradient_norm"] > 0
    assert "replayed/accuracy/perception" not in whole[1]


def test_two_sharded_processes_killed_and_resumed_give_the_losses_of_one(config: Path, tmp_path: Path) -> None:
    common = {
        "model__negatives__prompts_per_update": "0",  # each process replays what it has seen itself
        "model__objective__r1_weight": "0.0",  # its noise is drawn by each process for itself
        "data__batch_size": "4",
    }
    finish(start(config, tmp_path / "one", **common))
    # Killed before the discriminator's first step: at that checkpoint its optimizer has no state.
    kill_after(start(config, tmp_path / "two", **common, **SHARDED), tmp_path / "two", 3)
    models = export(str(tmp_path / "two"), str(tmp_path / "exported"))
    assert [folder.name for folder in models] == ["model", "discriminator"]
    for folder in models:
        beside = tmp_path / "two" / "checkpoints" / "step=2" / folder.name
        own, other = (load_file(path / "model.safetensors") for path in (folder, beside))
        assert own.keys() == other.keys()
        assert all(torch.equal(own[name], other[name]) for name in own)
    finish(start(config, tmp_path / "two", **common, **SHARDED))
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert sorted(one) == sorted(two) == [1, 2, 3, 4, 5]
    keys = ["policy/loss", "policy/gradient_norm", "policy/entropy", "response/tokens"]
    keys += ["in_batch/reward_gap/perception", "score/teacher_reasoning"]
    for step in one:
        # The fifth step's scores are those after the discriminator's first step.
        for key in [*keys, "discriminator/gradient_norm"] if step == 4 else keys:
            assert two[step][key] == pytest.approx(one[step][key], abs=1e-4), (step, key)
    assert abs(one[5]["score/teacher_reasoning"] - one[4]["score/teacher_reasoning"]) > 1e-3
