"""FSDP2 sharding of a model that names its layers, and full tensors back out of it.

Weights and their gradients' sums stay in fp32; with bf16 as the compute dtype each layer's weights are rounded as they are
gathered, and its activations are bf16. That is what autocast does to a matrix product, but the weights travel as bf16 and
are rounded once a pass, and nothing but a module's weights decides in which precision it computes.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor


class Layered(Protocol):
    """A module whose ``layers()`` are sharded one by one, the rest as one unit."""

    def layers(self) -> list[nn.Module]: ...

    def exact_parts(self) -> list[nn.Module]:
        """Small modules that compute in fp32 whatever the others do: what they decide must not be rounded."""
        ...


def shard(model: Layered, mesh: DeviceMesh, compute_dtype: torch.dtype = torch.float32) -> None:
    """Shards parameters over the mesh, in place. Must come before the optimizer is made.

    ``compute_dtype`` is that of gathered weights and of activations; gradients are summed over ranks in fp32.
    """
    assert isinstance(model, nn.Module)
    rounded = MixedPrecisionPolicy(compute_dtype, torch.float32, cast_forward_inputs=False)
    if compute_dtype != torch.float32:
        for part in model.exact_parts():
            fully_shard(part, mesh=mesh, mp_policy=MixedPrecisionPolicy(torch.float32))
    for layer in model.layers():
        fully_shard(layer, mesh=mesh, mp_policy=rounded)
    fully_shard(model, mesh=mesh, mp_policy=rounded)


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
