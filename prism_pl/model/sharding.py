"""FSDP2 sharding of a model that names its layers, and full tensors back out of it."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor


class Layered(Protocol):
    """A module whose ``layers()`` are sharded one by one, the rest as one unit."""

    def layers(self) -> list[nn.Module]: ...


def shard(model: Layered, mesh: DeviceMesh) -> None:
    """Shards parameters over the mesh, in place. Must come before the optimizer is made."""
    assert isinstance(model, nn.Module)
    for layer in model.layers():
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def full_weights(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the state dict, whole. A collective on a sharded model: all ranks must run it to the end."""
    for name, tensor in model.state_dict().items():
        yield name, whole(tensor)


def place_rows(all_rows: torch.Tensor, own: torch.Tensor, rank: int, num_ranks: int) -> torch.Tensor:
    """The rows of all ranks with this rank's own put back in their places, which are every ``num_ranks``-th from ``rank``
    on: only they carry a gradient."""
    places = torch.arange(rank, len(all_rows), num_ranks)
    return all_rows.index_copy(0, places, own)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, gathered if it is sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
