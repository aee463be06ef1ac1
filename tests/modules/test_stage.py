"""What all stages share: a stopped run goes on, and its checkpoint is a folder to load."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

import callbacks
from modules.stage import StageModule
from prism_pl.commands.export import export
from prism_pl.embedded import embedded_folder
from prism_pl.metrics.collection import StepMetrics, means
from prism_pl.model.packing import Group
from prism_pl.runs.checkpoint import Checkpoint
from prism_pl.types import Prompt
from tests.modules.fits import fit, logged, with_engine


class OneOfTwo(StageModule):
    """A rank beside one that has ``others``, micro-batches and tokens."""

    def __init__(self, others: tuple[int, int]) -> None:
        super().__init__(torch.optim.SGD, max_tokens=16)
        self.others = torch.tensor(others)
        self.metrics = StepMetrics(means("packing/idle_share", "packing/padding_share"))

    def all_reduce(self, value: torch.Tensor | float, op: str = "sum") -> torch.Tensor:
        assert op == "max"
        return torch.maximum(torch.as_tensor(value), self.others)


def test_a_rank_with_fewer_micro_batches_goes_through_two_tokens() -> None:
    prompt = Prompt("row", "", (1,) * 4, (1,) * 4, torch.arange(4).expand(3, 4))
    groups = [Group(prompt, ((5,) * size,), (index,)) for index, size in enumerate((10, 8))]
    # 14 and 12 tokens do not fit in 16 together; the other rank has one micro-batch more, and 40 tokens.
    stage = OneOfTwo((3, 40))
    batches = [(len(packed.input_ids_N), is_filler) for packed, is_filler in stage.micro_batches(groups)]
    assert batches == [(14, False), (12, False), (2, True)]
    # It has nothing to do for 14 of 40 tokens, and 2 of the 28 that it computes are nobody's.
    assert stage.metrics.result() == {
        "packing/idle_share": pytest.approx(14 / 40),
        "packing/padding_share": pytest.approx(2 / 28),
    }
    # Without a group of its own: fillers alone.
    stage = OneOfTwo((2, 20))
    assert [is_filler for _, is_filler in stage.micro_batches([])] == [True, True]
    assert stage.metrics.result() == {"packing/idle_share": 1.0, "packing/padding_share": 1.0}


def test_a_fused_optimizer_clips_and_steps_as_a_plain_one(tmp_path: Path) -> None:
    config = with_engine("sft.yaml", tmp_path)
    common = ["--data.batch_size=8", "--data.num_workers=0", "--trainer.max_steps=2", "--model.optimizer=torch.optim.SGD"]
    common += ["--model.optimizer.lr=1.0", "--model.clip_norm=0.01", "--model.schedule.warmup_ratio=0.0"]
    common += ["--model.schedule.kind=constant"]
    for fused in ("false", "true"):
        fit(config, tmp_path / fused, *common, f"--model.optimizer.fused={fused}")
    plain, fused_line = (logged(tmp_path / name, "policy/gradient_norm")[-1] for name in ("false", "true"))
    assert plain["policy/gradient_norm"] > 0.01
    assert fused_line["sft/loss"] == pytest.approx(plain["sft/loss"], rel=1e-5)
    folders = (embedded_folder() / "model", tmp_path / "false" / "model", tmp_path / "true" / "model")
    start, one, other = (load_file(folder / "model.safetensors") for folder in folders)
    moved = {name: one[name] - start[name] for name in one if name in start}
    # Two steps of length 0.01 each, nearly in one direction.
    assert 0.01 < sum(float(change.square().sum()) for change in moved.values()) ** 0.5 <= 0.02 + 1e-6
    assert all(torch.allclose(one[name], other[name], atol=1e-7) for name in one)


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
