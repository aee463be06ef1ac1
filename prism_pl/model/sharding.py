"""FSDP2 sharding of a model that names its layers, from whole tensors to a rank's share and back.

Weights and their gradients' sums stay in fp32; with bf16 as the compute dtype each layer's weights are rounded as they are
gathered, and its activations are bf16. That is what autocast does to a matrix product, but the weights travel as bf16 and
are rounded once a pass, and nothing but a module's weights decides in which precision it computes.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from prism_pl.ranks import several

_BUCKET = 25_000_000
"""Numbers of whole gradients that are exchanged at a time, 100 MB; a larger parameter goes alone."""


class Layered(Protocol):
    """A module whose ``layers()`` are sharded one by one, the rest as one unit."""

    def layers(self) -> list[nn.Module]: ...

    def exact_parts(self) -> list[nn.Module]:
        """Small modules that compute in fp32 whatever the others do: what they decide must not be rounded."""
        ...


def shard(model: Layered, mesh: DeviceMesh, compute_dtype: torch.dtype = torch.float32, *, offload: bool = False) -> None:
    """Shards parameters over the mesh's last dimension, in place. Must come before the optimizer is made.

    Over a first dimension of two they are repeated, and only gradients are summed (hybrid sharding).

    ``compute_dtype`` is that of gathered weights and of activations; gradients are summed over ranks in fp32. With
    ``offload`` shards and their gradients are on the host, so the optimizer makes its states and steps there.
    """
    assert isinstance(model, nn.Module)
    rounded = MixedPrecisionPolicy(compute_dtype, torch.float32, cast_forward_inputs=False)
    place = CPUOffloadPolicy(pin_memory=mesh.device_type == "cuda") if offload else OffloadPolicy()
    if compute_dtype != torch.float32:
        for part in model.exact_parts():
            fully_shard(part, mesh=mesh, mp_policy=MixedPrecisionPolicy(torch.float32), offload_policy=place)

    def placement(parameter: nn.Parameter) -> Shard | None:
        # Stacked experts: by their rows. By experts, which are few, some ranks would have a whole one and others none.
        return Shard(1) if parameter.ndim == 3 and parameter.shape[1] % mesh.size(mesh.ndim - 1) == 0 else None

    for layer in model.layers():
        fully_shard(layer, mesh=mesh, mp_policy=rounded, shard_placement_fn=placement, offload_policy=place)
    fully_shard(model, mesh=mesh, mp_policy=rounded, offload_policy=place)


def sum_over_nodes(model: nn.Module, *, now: bool) -> None:
    """Under hybrid sharding: whether the next backward pass sums gradients over nodes, or leaves that to a later one.

    Until then each rank holds its node's sum, as large as its share of the weights.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_requires_all_reduce(now, recurse=False)


def average_whole(parameters: Sequence[nn.Parameter]) -> None:
    """Averages over ranks the gradients of parameters that every rank has whole; those of shards are averages already. A
    collective if there are any.

    A parameter that no rank's rows have reached keeps no gradient, as on a single device: zeros would let momentum go on.
    """
    if not several() or not (whole := [p for p in parameters if not isinstance(p, DTensor)]):
        return
    has_gradient = torch.tensor([parameter.grad is not None for parameter in whole], dtype=torch.uint8)
    has_gradient = has_gradient.to(whole[0].device)
    dist.all_reduce(has_gradient, dist.ReduceOp.MAX)
    reached = [parameter for parameter, has in zip(whole, has_gradient.tolist(), strict=True) if has]
    # All at once where they are small, and never more than this many numbers beside them.
    for bucket in _buckets(reached):
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for parameter, own in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            parameter.grad = own.view_as(parameter)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        if bucket and sum(own.numel() for own in bucket) + parameter.numel() > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def move(model: nn.Module, device: torch.device) -> nn.Module:
    """Moves what is not sharded to a device. Shards stay where sharding has put them, which may be the host."""
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return model.to(device)
    for child in model.children():
        move(child, device)
    return model


def device_of(model: nn.Module) -> torch.device:
    """Where its passes run: that of its parameters, but shards may be on the host."""
    parameter = next(model.parameters())
    return torch.device(parameter.device_mesh.device_type) if isinstance(parameter, DTensor) else parameter.device


def gradient_norm(parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    """The 2-norm of all gradients together, over the ranks that share them: a collective then.

    torch's own is computed where gradients are; shards on the host could not be summed over GPUs.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    sharded = [gradient for gradient in gradients if isinstance(gradient, DTensor)]
    if not sharded:
        return torch.nn.utils.get_total_norm(gradients)
    assert len(sharded) == len(gradients)
    mesh = sharded[0].device_mesh
    own = torch.nn.utils.get_total_norm([gradient.to_local() for gradient in sharded])
    square = own.to(mesh.device_type).square()
    dist.all_reduce(square, group=mesh.get_group(mesh.ndim - 1))
    return square.sqrt()


def place_rows(all_rows: torch.Tensor, own: torch.Tensor, places: Sequence[int]) -> torch.Tensor:
    """The rows of all ranks with this rank's own put back in their ``places``: only they carry a gradient."""
    return all_rows.index_copy(0, torch.tensor(places), own)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, gathered if it is sharded. A collective then."""
    if hasattr(tensor, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([tensor]):
            return tensor.detach().clone()
    if not isinstance(tensor, DTensor):
        return tensor.detach()
    # Ranks exchange what is on their devices; a shard may be on the host.
    here = tensor.detach().to(tensor.device_mesh.device_type)
    assert isinstance(here, DTensor)
    return here.full_tensor()


def hand_out(first: torch.Tensor | None, shape: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The first rank's whole tensor, cut as ``like`` is; whole on every rank if ``like`` has another shape (a factored
    optimizer state, say). A collective.

    ``first`` is None on the other ranks, where ``shape`` stands for it.
    """
    # Ranks exchange what is on their devices; a shard may be on the host.
    device = torch.device(like.device_mesh.device_type) if isinstance(like, DTensor) else like.device
    whole = torch.empty_like(shape, device=device) if first is None else first.to(device)
    if isinstance(like, DTensor) and like.shape == shape.shape:
        return distribute_tensor(whole, like.device_mesh, like.placements).to(like.device)
    if several():
        dist.broadcast(whole, 0)
    return whole.to(like.device)


@torch.no_grad()
def fill(parameter: torch.Tensor, whole: torch.Tensor) -> None:
    """Puts this rank's share of a tensor, which every rank has whole for a moment, in its place. No collective."""
    if isinstance(parameter, DTensor):
        whole = distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)
    parameter.copy_(whole)
