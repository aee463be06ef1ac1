"""What the processes of a run tell each other. A single process talks to nobody."""

import os
from typing import Any, TypeVar

import torch.distributed as dist

_Value = TypeVar("_Value")
CHECK_VARIABLE = "PRISM_CHECK_COLLECTIVES"


def several() -> bool:
    """Whether there are other processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather_objects(own: Any) -> list[Any]:
    """Every rank's object, in the order of the ranks. A collective."""
    everyone: list[Any] = [own]
    if several():
        everyone = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, own)
    return everyone


def broadcast_object(own: _Value) -> _Value:
    """The first rank's object. A collective."""
    values = [own]
    if several():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def check_collectives() -> None:
    """With ``PRISM_CHECK_COLLECTIVES=1``, from the next process group on: before each collective the ranks compare its
    number, name and shapes. The first that differs ends the run and is named, instead of hanging or mixing up tensors.

    torch does it (its ``TORCH_DISTRIBUTED_DEBUG=DETAIL``). It costs a barrier a collective.
    """
    if os.environ.get(CHECK_VARIABLE) == "1":
        dist.set_debug_level(dist.DebugLevel.DETAIL)
