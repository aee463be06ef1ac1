"""Two ranks learn what one process learns, whatever they are given: losses and weights."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests import launchers
from tests.modules.aligning import assert_same_metrics, metrics
from tests.modules.fits import fit
from tests.modules.small_stages import Content
from tests.ranks.matrix import full, small, write_cases

PROGRAM = [sys.executable, "-m", "tests.ranks.several_fits"]


def start_on_two(
    cases: dict[str, Content], folder: Path, strategy: Sequence[str] = launchers.SHARDED
) -> launchers.Processes:
    """All cases on two ranks, one after the other."""
    sharded = json.dumps([*strategy, "--trainer.devices=2"])
    program = [*PROGRAM, str(folder), sharded, "0", *(f"{name}:two/{name}" for name in cases)]
    return launchers.Processes([(program, task) for task in launchers.slurm_tasks(2)], folder / "two-log")


def check(cases: dict[str, Content], folder: Path) -> None:
    for name in cases:
        one, two = folder / "one" / name, folder / "two" / name
        # Two updates a rollout batch in RLVR: one line for both.
        assert max(metrics(one)) == 2, name
        assert_same_metrics(one, two)
        for model in one.glob("*/model.safetensors"):
            own, other = load_file(model), load_file(two / model.parent.name / model.name)
            assert own.keys() == other.keys()
            for key, tensor in own.items():
                assert (other[key] - tensor).abs().max() < 1e-4, (name, key)


def compare_with_one(cases: dict[str, Content], folder: Path, strategy: Sequence[str] = launchers.SHARDED) -> None:
    """Two ranks side by side with one process, which is this one."""
    write_cases(cases, folder)
    two = start_on_two(cases, folder, strategy)
    for name in cases:
        fit(folder / f"{name}.yaml", folder / "one" / name)
    two.finish()
    check(cases, folder)


def test_losses_and_weights_are_those_of_one_process_in_small(tmp_path: Path) -> None:
    compare_with_one(small(tmp_path), tmp_path)


@pytest.mark.ranks
def test_losses_and_weights_are_those_of_one_process(tmp_path: Path) -> None:
    cases = full(tmp_path)
    write_cases(cases, tmp_path)
    one = [*PROGRAM, str(tmp_path), "[]", "0", *(f"{name}:one/{name}" for name in cases)]
    launchers.Processes([(one, {})], tmp_path / "one-log").finish()
    start_on_two(cases, tmp_path).finish()
    assert len(cases) == 19
    check(cases, tmp_path)
