"""What all stages share: a stopped run goes on, and its checkpoint is a folder to load."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

import callbacks
from prism_pl.commands.export import export
from prism_pl.runs.checkpoint import Checkpoint
from tests.modules.fits import fit, logged, with_engine


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    """Two updates, a stop, two more: the same weights and metrics as four in a row.

    Both in this process: what other tests have loaded into another, an engine's libraries, may round otherwise.
    """
    config, folder, whole = with_engine("sft.yaml", tmp_path), tmp_path / "resumed", tmp_path / "whole"
    options = ["--data.batch_size", "16", "--data.num_workers", "0", "--checkpoint.every_n_train_steps", "2",
               "--trainer.max_steps", "4"]  # fmt: skip

    class StopError(Exception):
        pass

    class Killer(callbacks.RunFolder):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:  # type: ignore[no-untyped-def]
            if trainer.global_step == 3:
                raise StopError

    with pytest.raises(StopError):
        fit(config, folder, *options, run_folder=Killer)
    assert not (folder / "finished.json").exists()
    check_checkpoint_folder(folder, updates=2)
    fit(config, folder, *options)
    fit(config, whole, *options)
    first, second = (load_file(run / "model" / "model.safetensors") for run in (whole, folder))
    assert all(torch.equal(first[name], second[name]) for name in first)
    # The third was written twice, and cut once.
    assert [line["step"] for line in logged(folder, "sft/loss")] == [1, 2, 3, 4]


def check_checkpoint_folder(run: Path, updates: int) -> None:
    """In the newest checkpoint lies what it holds, complete; ``export`` gives the same."""
    (folder,) = (run / "checkpoints").iterdir()
    assert folder.name == f"step={updates}.ckpt"
    mark = json.loads((folder / "run.json").read_text())
    assert mark.keys() == {"updates", "commit"}
    assert mark["updates"] == updates
    assert (folder / "config.yaml").read_text() == (run / "config.yaml").read_text()
    AutoProcessor.from_pretrained(folder / "model")
    (exported,) = export(str(run), str(run / "exported"))
    own, other = (load_file(path / "model.safetensors") for path in (folder / "model", exported))
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)
    loaded = Qwen3VLForConditionalGeneration.from_pretrained(exported)
    state = Checkpoint(folder).whole()["state_dict"]
    assert all(torch.equal(tensor, state[f"policy.vlm.{name}"]) for name, tensor in loaded.state_dict().items())
