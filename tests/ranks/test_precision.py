"""``--trainer.precision bf16-mixed``: what fp32 learns, within the rounding of bf16."""

import json
from pathlib import Path

import pytest
import torch

from prism_pl.runs.files import read_lines
from tests import launchers
from tests.modules.aligning import metrics
from tests.modules.fits import fit
from tests.ranks.matrix import all_stages, write_cases
from tests.ranks.test_matrix import PROGRAM

BF16 = [*launchers.SHARDED, "--trainer.precision=bf16-mixed"]
ROUNDING = 2**-8
"""Of a value in bf16, relative to it. A loss is a mean of many."""
CHECKED = {
    "sft": ["sft/loss", "policy/gradient_norm"],
    "warmup": ["discriminator_loss/perception", "discriminator/gradient_norm", "score/teacher_reasoning"],
    "align": ["policy/gradient_norm", "discriminator/gradient_norm", "score/teacher_reasoning", "discriminator/balance"],
    "rlvr": ["policy/gradient_norm", "policy/entropy"],
}


def start(folder: Path, ranks: int) -> launchers.Processes:
    """All stages on that many ranks, one after the other."""
    options = json.dumps([*BF16, f"--trainer.devices={ranks}"])
    program = [*PROGRAM, str(folder), options, "0", *(f"{name}:bf16-{ranks}/{name}" for name in CHECKED)]
    tasks = launchers.slurm_tasks(ranks) if ranks > 1 else [{}]
    return launchers.Processes([(program, task) for task in tasks], folder / f"log-{ranks}")


def check(exact: Path, rounded: Path) -> None:
    for name, keys in CHECKED.items():
        expected, found = metrics(exact / name), metrics(rounded / name)
        assert sorted(found) == sorted(expected)
        for step in expected:
            for key in [key for key in keys if key in expected[step]]:
                assert found[step][key] == pytest.approx(expected[step][key], rel=4 * ROUNDING), (name, step, key)
                assert found[step][key] != expected[step][key], (name, key)
    # Loss and routers see bf16 activations, but a score is no bf16 number: it would be one of steps of 0.002 near 0.4.
    samples = read_lines(rounded / "align" / "samples.jsonl")
    scores = torch.tensor([line["reasoning"] for line in samples if line["reasoning"] is not None])
    assert len(scores) == 2 * 4 * 3  # of four responses one is malformed
    assert (scores.bfloat16().float() != scores).float().mean() > 0.9


@pytest.fixture
def exact(tmp_path: Path) -> Path:
    """All stages in fp32 on one process."""
    cases = all_stages(tmp_path)
    cases["align"]["trainer"]["callbacks"].append({"class_path": "SampleLog"})
    write_cases(cases, tmp_path)
    for name in cases:
        fit(tmp_path / f"{name}.yaml", tmp_path / "exact" / name)
    return tmp_path / "exact"


def test_two_ranks_learn_in_bf16_what_one_process_learns_in_fp32(exact: Path) -> None:
    start(exact.parent, 2).finish()
    check(exact, exact.parent / "bf16-2")


@pytest.mark.ranks
def test_one_rank_learns_in_bf16_what_it_learns_in_fp32(exact: Path) -> None:
    start(exact.parent, 1).finish()
    check(exact, exact.parent / "bf16-1")
