"""A run that goes on with another number of processes has the metrics and the samples of an unbroken one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from prism_pl.runs.files import read_lines
from tests import launchers
from tests.modules.aligning import OPTIONS, metrics, wait_for

pytestmark = pytest.mark.ranks

REWARD = """
def reward(inputs):
    # About half of all groups have a signal, which is a function of the prompt alone.
    dead = lambda source: sum(map(ord, source)) % 2
    return [0.0 if dead(i["source"]) else (i["response_length"] * 7 + len(set(i["response"]))) % 5 / 4 for i in inputs]
"""


def align(folder: Path) -> list[str]:
    """Scripted responses: all kinds of pairs are there."""
    content = yaml.safe_load(Path("configs/align.yaml").read_text())
    rollout = next(c for c in content["trainer"]["callbacks"] if c["class_path"] == "RolloutCallback")
    rollout["init_args"] |= {
        "engine": {"class_path": "tests.modules.scripted.ScriptedEngine"},
        "sampling": {"max_new_tokens": 60, "group_size": 4},
        "probe": {"mean_gap": 1e9, "p99_gap": 1e9},
    }
    content["trainer"]["callbacks"] = [rollout, {"class_path": "SampleLog"}]
    options = OPTIONS | {"model.cadence.discriminator_every": "1", "model.replay.prompts_per_update": "4"}
    return finished(content, folder / "align.yaml", options)


def dapo(folder: Path) -> list[str]:
    """Half of the groups are replaced."""
    content = yaml.safe_load(Path("configs/rlvr.yaml").read_text())
    rollout = next(c for c in content["trainer"]["callbacks"] if c["class_path"] == "RolloutCallback")
    rollout["init_args"]["engine"] = {"class_path": "TransformersEngine"}
    rollout["init_args"]["sampling"] |= {"max_new_tokens": 12, "group_size": 4}
    content["trainer"]["callbacks"] = [rollout, {"class_path": "SampleLog"}]
    (folder / "mine.py").write_text(REWARD)
    reward = {"class_path": "PythonReward", "init_args": {"function": f"{folder}/mine.py:reward"}}
    content["model"]["init_args"] |= {"rewards": [reward], "policy": {"path": "embedded/digits"}}
    content["model"]["init_args"] |= {"reuse": {"mini_batches": 1}, "algorithm": {"class_path": "DAPO"}}
    content["trainer"]["logger"] = False
    return finished(content, folder / "rlvr.yaml", {"trainer.max_steps": "5", "checkpoint.every_n_train_steps": "2"})


def finished(content: dict[str, Any], file: Path, options: dict[str, str]) -> list[str]:
    file.write_text(yaml.safe_dump(content))
    return ["--config", str(file), *(f"--{key}={value}" for key, value in options.items()), "--data.batch_size=6"]


def samples(folder: Path) -> list[tuple[int, str, str]]:
    return [(line["step"], line["source"], line["response"]) for line in read_lines(folder / "samples.jsonl")]


Launch = Callable[[Sequence[str], Path], launchers.Processes]
SIZES: dict[int, Launch] = {
    0: launchers.alone,  # one process without a strategy
    1: lambda arguments, logs: launchers.lightning(arguments, logs, 1),
    2: launchers.lightning,
    3: lambda arguments, logs: launchers.lightning(arguments, logs, 3),
}


@pytest.mark.parametrize("config", [align, dapo])
def test_a_run_goes_on_with_fewer_and_with_more_processes(tmp_path: Path, config: Callable[[Path], list[str]]) -> None:
    """2 -> 1, 2 -> 3, one without a strategy -> 2 and, with shards, 1 -> 2; each killed after its third update."""
    arguments = config(tmp_path)
    whole = tmp_path / "whole"
    launchers.alone([*arguments, f"--run_dir={whole}"], tmp_path / "logs" / "whole").finish()
    expected = metrics(whole)
    assert sorted(expected) == [1, 2, 3, 4, 5]
    if config is dapo:
        assert any(line["rollout/surplus_groups"] > 0 for line in expected.values())
        assert any(line["rollout/prompts_sampled"] > 6 for line in expected.values())
    else:
        assert expected[5]["replay/reward_gap/perception"]
    for before, after in ((2, 1), (2, 3), (0, 2), (1, 2), (2, 0)):
        folder = tmp_path / f"{before}to{after}"
        own = [*arguments, f"--run_dir={folder}"]
        running = SIZES[before](own, tmp_path / "logs" / f"{folder.name}-before")
        wait_for(lambda running=running: running.alive, folder, 3)  # type: ignore[misc]
        running.kill()
        SIZES[after](own, tmp_path / "logs" / f"{folder.name}-after").finish()
        found = metrics(folder)
        assert sorted(found) == [1, 2, 3, 4, 5], folder.name
        for step, line in expected.items():
            # The engine is proven again after a resume; a percentile over ranks is the mean of theirs.
            names = {name for name in line if "probe_gap" not in name and not name.startswith("margin/")}
            assert names <= found[step].keys()
            for name in names:
                assert found[step][name] == pytest.approx(line[name], abs=1e-4), (folder.name, step, name)
        # Every response once and in order, also those of the step that was done twice.
        assert samples(folder) == samples(whole), folder.name
        assert len(samples(whole)) == 5 * 6 * 4
