"""Two processes share one run."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prism_pl.commands.export import export
from tests.command_line import finish
from tests.modules.aligning import kill_after, metrics, start, write_config


def test_two_sharded_processes_killed_and_resumed_give_the_losses_of_one(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    common = {
        "model__negatives__prompts_per_update": "0",  # each process replays what it has seen itself
        "model__objective__r1_weight": "0.0",  # its noise is drawn by each process for itself
        "data__batch_size": "4",
    }
    finish(start(config, tmp_path / "one", **common))
    sharded = {"trainer__devices": "2", "trainer__strategy": "fsdp2", "trainer__accelerator": "cpu"}
    # Killed before the discriminator's first step: at that checkpoint its optimizer has no state.
    kill_after(start(config, tmp_path / "two", **common, **sharded), tmp_path / "two", 3)
    models = export(str(tmp_path / "two"), str(tmp_path / "exported"))
    assert [folder.name for folder in models] == ["model", "discriminator"]
    for folder in models:
        beside = tmp_path / "two" / "checkpoints" / "step=2" / folder.name
        own, other = (load_file(path / "model.safetensors") for path in (folder, beside))
        assert own.keys() == other.keys()
        assert all(torch.equal(own[name], other[name]) for name in own)
    finish(start(config, tmp_path / "two", **common, **sharded))
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert sorted(one) == sorted(two) == [1, 2, 3, 4, 5]
    keys = ["policy/loss", "policy/gradient_norm", "policy/entropy", "response/tokens"]
    keys += ["in_batch/reward_gap/perception", "score/teacher_reasoning"]
    for step in one:
        # The fifth step's scores are those after the discriminator's first step.
        for key in [*keys, "discriminator/gradient_norm"] if step == 4 else keys:
            assert two[step][key] == pytest.approx(one[step][key], abs=1e-4), (step, key)
    assert abs(one[5]["score/teacher_reasoning"] - one[4]["score/teacher_reasoning"]) > 1e-3
