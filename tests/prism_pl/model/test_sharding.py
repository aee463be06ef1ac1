"""Sharded ranks, with and without images."""

import copy
import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from prism_pl.discriminators import Scorer
from prism_pl.model.packing import make_groups, pack
from prism_pl.model.policy import Policy
from prism_pl.model.sharding import average_whole, shard
from prism_pl.types import Prompt
from tests.forked_ranks import on_two_ranks

SEGMENTS = [[(5, 6, 7)], [(8, 9)]]


def loss(policy: Policy, prompt: Prompt, segments: list[tuple[int, ...]], likelihood: bool) -> torch.Tensor:
    found = policy(pack(make_groups([prompt], [segments])), likelihood=likelihood)
    return -found[0].sum()


def one_rank(rank: int, policy: Policy, prompts: list[Prompt], folder: Path, likelihood: bool) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    shard(policy, init_device_mesh("cpu", (2,)))
    loss(policy, prompts[rank], SEGMENTS[rank], likelihood).backward()
    gradients = {}
    for name, parameter in policy.named_parameters():
        assert isinstance(parameter.grad, DTensor), name
        gradients[name] = parameter.grad.full_tensor()
    if rank == 0:
        torch.save(gradients, folder / "gradients.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("likelihood", [False, True])
def test_a_rank_without_images_does_not_hang_the_one_with_images(
    policy: Policy, mixed_prompts: list[Prompt], tmp_path: Path, likelihood: bool
) -> None:
    """And gradients are the plain ones, also of the head, which is the embedding: from two passes over it, or from one."""
    prompts = [mixed_prompts[0], mixed_prompts[3]]
    assert prompts[0].pixel_values is not None
    assert prompts[1].pixel_values is None
    own = copy.deepcopy(policy).train()
    on_two_ranks(one_rank, own, prompts, tmp_path, likelihood)
    sharded = torch.load(tmp_path / "gradients.pt", weights_only=True)
    for prompt, segments in zip(prompts, SEGMENTS, strict=True):
        (loss(own, prompt, segments, False) / 2).backward()  # ranks are averaged
    scale = max(float(p.grad.norm()) for p in own.parameters() if p.grad is not None)
    for name, parameter in own.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(sharded[name], parameter.grad, rtol=1e-4, atol=1e-6 * scale, msg=name)


def last_of_eight(discriminator: Scorer, folder: Path) -> None:
    """Nothing is exchanged: the process group is a fake."""
    distributed.init_process_group("fake", rank=7, world_size=8, store=FakeStore())
    shard(discriminator, init_device_mesh("cpu", (8,)))
    stacked = {name: parameter for name, parameter in discriminator.named_parameters() if parameter.ndim == 3}
    assert len(stacked) == 2 * len(discriminator.model.language_model.layers)
    for name, parameter in stacked.items():
        assert isinstance(parameter, DTensor), name
        # Four experts: shared out one by one the eighth rank would have none.
        assert parameter.shape[0] == 4, name
        assert parameter.to_local().numel() == parameter.numel() / 8, name
    (folder / "checked").touch()


def test_each_of_eight_ranks_has_an_eighth_of_four_experts(discriminator: Scorer, tmp_path: Path) -> None:
    process = multiprocessing.get_context("forkserver").Process(
        target=last_of_eight, args=(copy.deepcopy(discriminator), tmp_path)
    )
    process.start()
    process.join(120)
    process.kill()
    assert (tmp_path / "checked").exists()


def uneven_ranks(rank: int, folder: Path) -> None:
    """Four parameters of two numbers: both ranks have a gradient of the first two, one of the third, none of the last."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(4)]
    parameters[0].grad = torch.tensor([1.0, 2.0]) * (rank + 1)
    parameters[1].grad = torch.tensor([[8.0, -4.0], [2.0, 4.0]][rank])
    if rank == 1:
        parameters[2].grad = torch.tensor([6.0, 10.0])
    average_whole(parameters)
    torch.save([parameter.grad for parameter in parameters], folder / f"rank{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("bucket", [1, 4, 1000])
def test_gradients_of_whole_parameters_are_averaged(bucket: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prism_pl.model.sharding._BUCKET", bucket)
    on_two_ranks(uneven_ranks, tmp_path)
    for rank in (0, 1):
        *averages, untouched = torch.load(tmp_path / f"rank{rank}.pt")
        # (1 + 2) / 2, (2 + 4) / 2; (8 + 2) / 2, (-4 + 4) / 2; (0 + 6) / 2, (0 + 10) / 2
        assert [average.tolist() for average in averages] == [[1.5, 3.0], [5.0, 0.0], [3.0, 5.0]]
        assert untouched is None


def test_a_single_process_averages_nothing() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    average_whole([parameter])
    assert parameter.grad.tolist() == [1.0, 2.0]
