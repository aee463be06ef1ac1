"""Two ranks learn what one process learns, whatever they are given: losses and weights."""

import json
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests import launchers
from tests.modules.aligning import metrics
from tests.ranks.matrix import write_cases

pytestmark = pytest.mark.ranks


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases on one process and on two, in three processes."""
    folder = tmp_path_factory.mktemp("matrix")
    names = write_cases(folder)
    program = [sys.executable, "-m", "tests.ranks.several_fits", str(folder)]
    one, two = ([f"{name}:{kind}/{name}" for name in names] for kind in ("one", "two"))
    launchers.Processes([([*program, "[]", "0", *one], {})], folder / "one-log").finish()
    sharded = json.dumps([*launchers.SHARDED, "--trainer.devices=2"])
    commands = [([*program, sharded, "0", *two], task) for task in launchers.slurm_tasks(2)]
    launchers.Processes(commands, folder / "two-log").finish()
    return folder


def test_losses_and_weights_are_those_of_one_process(runs: Path) -> None:
    names = sorted(folder.name for folder in (runs / "one").iterdir())
    assert len(names) == 18
    for name in names:
        one, two = metrics(runs / "one" / name), metrics(runs / "two" / name)
        # Two updates a rollout batch in RLVR: one line for both.
        assert sorted(one) == sorted(two)
        assert max(one) == 2
        for step, line in one.items():
            assert line.keys() == two[step].keys(), name
            # Percentiles are each rank's own; a probe asks another prompt on each.
            for key in (key for key in line if "probe_gap" not in key and not key.startswith("margin/")):
                assert two[step][key] == pytest.approx(line[key], abs=1e-4, rel=1e-4), (name, step, key)
        for model in (runs / "one" / name).glob("*/model.safetensors"):
            own, other = load_file(model), load_file(runs / "two" / name / model.parent.name / model.name)
            assert own.keys() == other.keys()
            for key, tensor in own.items():
                assert (other[key] - tensor).abs().max() < 1e-4, (name, key)
