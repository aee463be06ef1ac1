"""A run that goes on with another number of processes has the metrics and the samples of an unbroken one."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from prism_pl.runs.files import read_lines
from tests import launchers
from tests.modules.aligning import OF_A_RANK, OPTIONS, metrics
from tests.modules.small_stages import rewarded, scripted, write

pytestmark = pytest.mark.ranks


def align(folder: Path) -> list[str]:
    """Scripted responses: all kinds of pairs are there."""
    content = scripted({"class_path": "SampleLog"})
    options = OPTIONS | {"model.cadence.discriminator_every": "1", "model.replay.prompts_per_update": "4"}
    return finished(content, folder / "align.yaml", options)


def dapo(folder: Path) -> list[str]:
    """Half of the groups are replaced."""
    # About half of all groups have a signal, which is a function of the prompt alone.
    content = rewarded(folder, {"class_path": "SampleLog"}, dead="sum(map(ord, source)) % 2")
    content["model"]["init_args"] |= {"reuse": {"mini_batches": 1}, "algorithm": {"class_path": "DAPO"}}
    return finished(content, folder / "rlvr.yaml", {"trainer.max_steps": "5", "checkpoint.every_n_train_steps": "2"})


def finished(content: dict[str, Any], file: Path, options: dict[str, str]) -> list[str]:
    chosen = options | {"data.batch_size": "6"}
    return ["--config", str(write(content, file)), *(f"--{key}={value}" for key, value in chosen.items())]


def samples(folder: Path) -> list[tuple[int, str, str]]:
    return [(line["step"], line["source"], line["response"]) for line in read_lines(folder / "samples.jsonl")]


CONFIGS = {"align": align, "dapo": dapo}
MOVES = [(2, 1), (2, 3), (0, 2), (1, 2), (2, 0)]
"""From one number of processes to another; 0 is one without a strategy, 1 is one with shards."""


def start(folder: Path, size: int, stop_after: int, names: Sequence[str]) -> None:
    """All these runs, one after the other, on that many ranks."""
    sharded = [*launchers.SHARDED, f"--trainer.devices={size}"] if size else []
    program = [sys.executable, "-m", "tests.ranks.several_fits", str(folder), json.dumps(sharded), str(stop_after), *names]
    tasks = launchers.slurm_tasks(size) if size > 1 else [{}]
    launchers.Processes([(program, task) for task in tasks], folder / f"log-{size}-{stop_after}").finish()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each configuration unbroken, and stopped after its third update to go on with another number of processes."""
    folder = tmp_path_factory.mktemp("sizes")
    for name, config in CONFIGS.items():
        (folder / f"{name}.arguments").write_text(json.dumps(config(folder)))
    start(folder, 0, 0, [f"{name}:{name}-whole" for name in CONFIGS])
    for size in (0, 1, 2):
        start(folder, size, 3, [f"{name}:{name}-{size}" for name in CONFIGS])
    for size in (0, 1, 2, 3):
        names = []
        for before, after in MOVES:
            if after == size:
                for name in CONFIGS:
                    shutil.copytree(folder / f"{name}-{before}", folder / f"{name}-{before}to{after}")
                    names.append(f"{name}:{name}-{before}to{after}")
        start(folder, size, 0, names)
    return folder


@pytest.mark.parametrize("move", MOVES, ids=lambda move: f"{move[0]}to{move[1]}")
@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_goes_on_with_fewer_and_with_more_processes(runs: Path, name: str, move: tuple[int, int]) -> None:
    whole, folder = runs / f"{name}-whole", runs / f"{name}-{move[0]}to{move[1]}"
    expected, found = metrics(whole), metrics(folder)
    assert sorted(expected) == sorted(found) == [1, 2, 3, 4, 5]
    assert max(metrics(runs / f"{name}-{move[0]}")) == 3  # one update more than its checkpoint has
    if name == "dapo":
        assert any(line["rollout/surplus_groups"] > 0 for line in expected.values())
        assert any(line["rollout/prompts_sampled"] > 6 for line in expected.values())
    else:
        assert "replay/reward_gap/perception" in expected[5]
    for step, line in expected.items():
        # What is of a rank by definition, and the engine's proof, which a resume repeats.
        names = {name for name in line if not any(part in name for part in OF_A_RANK)}
        assert names <= found[step].keys()
        for key in names:
            assert found[step][key] == pytest.approx(line[key], abs=1e-4), (step, key)
    # Every response once and in order, also those of the step that was done twice.
    assert samples(folder) == samples(whole)
    assert len(samples(whole)) == 5 * 6 * 4
