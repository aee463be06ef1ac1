"""Two ranks write one checkpoint, which one process reads; and both hear of what went wrong on one."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils._pytree import tree_map

from prism_pl.errors import UserError
from prism_pl.runs import checkpoint_writer
from prism_pl.runs.checkpoint import Checkpoint, newest_checkpoint
from prism_pl.runs.checkpoint_writer import CheckpointWriter
from prism_pl.runs.fragments import Fragment
from tests.forked_ranks import on_two_ranks


class Tied(nn.Module):
    """Seven rows for two ranks, and heads of one row, of which the second rank has nothing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(5, 7, bias=False)
        self.head = nn.Linear(5, 7, bias=False)
        self.head.weight = self.embed.weight
        self.score = nn.Linear(5, 1, bias=False)
        self.again = nn.Linear(5, 1, bias=False)
        self.again.weight = self.score.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x).sum() + 3.0 * self.score(x).sum()


def stepped(model: nn.Module) -> dict[str, Any]:
    """A trainer's checkpoint after a step; of equal data on all ranks."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.arange(10.0).reshape(2, 5)).backward()
    optimizer.step()
    return {"global_step": 1, "state_dict": model.state_dict(keep_vars=True), "optimizer_states": [optimizer.state_dict()]}


def cut(checkpoint: dict[str, Any], rank: int) -> dict[str, Any]:
    """Through the middle of a row: the first rank has three numbers of each tensor and all of the last one."""
    made: dict[int, Fragment] = {}

    def part(tensor: Any) -> Any:
        if not isinstance(tensor, torch.Tensor) or not tensor.dim():
            return tensor
        if id(tensor) not in made:
            flat = tensor.detach().flatten()
            at = len(flat) if tensor.shape == (1, 5) else 3
            made[id(tensor)] = Fragment(flat[at:] if rank else flat[:at], at * rank, tensor.shape)
        return made[id(tensor)]

    states = [state | {"state": tree_map(part, state["state"])} for state in checkpoint["optimizer_states"]]
    weights = {name: part(tensor) for name, tensor in checkpoint["state_dict"].items()}
    return checkpoint | {"state_dict": weights, "optimizer_states": states}


def save(rank: int, folder: Path, case: str) -> None:
    """In a rank: what it heard goes to a file of its own."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = Tied()
    if not case.startswith("fragments"):
        fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    checkpoint = stepped(model)
    if case.startswith("fragments"):
        checkpoint = cut(checkpoint, rank)
    if case.endswith("own disk") and rank == 1:
        checkpoint_writer.hidden = lambda target: folder / "another disk" / target.name  # type: ignore[attr-defined]
    writer = CheckpointWriter(lambda target: None)
    heard = "nothing"
    writer.save(checkpoint, folder / "checkpoints" / "step=1.ckpt")
    writer.wait()
    if case == "full":
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if rank == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        writer.save(checkpoint, folder / "checkpoints" / "step=2.ckpt")
        try:
            writer.wait()
        except UserError as error:
            heard = str(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (folder / f"heard{rank}").write_text(heard)
    dist.destroy_process_group()


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str], Path]:
    def run(case: str) -> Path:
        on_two_ranks(save, tmp_path, case)
        return tmp_path

    return run


def assert_whole(folder: Path) -> None:
    found, expected = Checkpoint(folder).whole(), stepped(Tied())
    assert found["state_dict"].keys() == expected["state_dict"].keys()
    for name, tensor in expected["state_dict"].items():
        torch.testing.assert_close(found["state_dict"][name], tensor.detach(), msg=name)
    own, other = found["optimizer_states"][0], expected["optimizer_states"][0]
    assert own["param_groups"] == other["param_groups"]
    assert own["state"].keys() == other["state"].keys() == {0, 1}
    for number, state in other["state"].items():
        for key, value in state.items():
            torch.testing.assert_close(own["state"][number][key], value, msg=key)
    # Two weights of four names, and two moments of each.
    assert len(Checkpoint(folder).names()) == 4 + 4
    assert Checkpoint(folder).rest["same"] == {
        "state_dict/head.weight": "state_dict/embed.weight", "state_dict/again.weight": "state_dict/score.weight",
    }  # fmt: skip


def test_each_rank_writes_its_rows(saved: Callable[[str], Path]) -> None:
    folder = saved("shared disk") / "checkpoints" / "step=1.ckpt"
    assert_whole(folder)
    assert {path.name for path in folder.iterdir()} == {".metadata", "rest.pt", "__0_0.distcp", "__1_0.distcp"}


def test_the_first_rank_writes_for_one_with_a_disk_of_its_own(saved: Callable[[str], Path]) -> None:
    folder = saved("own disk") / "checkpoints" / "step=1.ckpt"
    assert_whole(folder)
    assert {path.name for path in folder.iterdir()} == {".metadata", "rest.pt", "__0_0.distcp"}


@pytest.mark.parametrize("case", ["fragments", "fragments, own disk"])
def test_tensors_that_are_cut_anywhere_are_whole_again(saved: Callable[[str], Path], case: str) -> None:
    folder = saved(case) / "checkpoints" / "step=1.ckpt"
    assert_whole(folder)
    assert (folder / "__1_0.distcp").exists() == (case == "fragments")


def test_all_ranks_hear_that_one_could_not_write(saved: Callable[[str], Path]) -> None:
    folder = saved("full")
    for rank in (0, 1):
        heard = (folder / f"heard{rank}").read_text()
        assert "step=2.ckpt could not be written (rank 1: " in heard
        assert "File too large" in heard
    assert newest_checkpoint(folder) == folder / "checkpoints" / "step=1.ckpt"
    assert_whole(folder / "checkpoints" / "step=1.ckpt")
