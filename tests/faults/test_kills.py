"""kill -9 of all processes at random moments: what the finished run leaves is what an unbroken one leaves, to the bit."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.faults.kills import Killed, timeless

KILLS = int(os.environ.get("PRISM_TEST_KILLS", "20"))


@pytest.mark.faults
@pytest.mark.parametrize("strategy", ["fsdp2", "deepspeed_stage_2", "deepspeed_stage_3"])
def test_a_run_killed_at_random_moments_ends_as_one_left_alone(tmp_path: Path, strategy: str) -> None:
    game = Killed(tmp_path, strategy, KILLS, seed=0)
    game.run_alone()
    game.run_killed()
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert max(line["step"] for line in timeless(whole)) == game.updates
    assert timeless(whole) == timeless(killed)
    for name in ("samples.jsonl", "health.jsonl"):
        assert (whole / name).exists() == (killed / name).exists()
    assert (whole / "samples.jsonl").read_bytes() == (killed / "samples.jsonl").read_bytes()
    for model in ("model", "discriminator"):
        own, other = (load_file(folder / model / "model.safetensors") for folder in (whole, killed))
        assert own.keys() == other.keys()
        assert all(torch.equal(own[name], other[name]) for name in own)
    print(f"{game.redone} of {game.updates} updates were done again")
