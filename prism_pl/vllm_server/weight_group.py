"""A gloo group of a trainer's process and one server's workers. It is apart from the process's default group."""

from dataclasses import dataclass
from datetime import timedelta

import torch
from torch.distributed import BroadcastOptions, PrefixStore, ProcessGroupGloo, TCPStore

_NAME = "weights"


@dataclass(frozen=True)
class WeightGroup:
    """Rank 0 is the trainer, and holds the store in which the ranks find each other."""

    group: ProcessGroupGloo
    store: TCPStore

    def broadcast(self, tensor: torch.Tensor) -> "torch.distributed.Work":
        """Begins to send rank 0's numbers into the others' tensors, on the host. Its ``wait`` raises RuntimeError if one is
        gone."""
        options = BroadcastOptions()
        options.rootRank, options.rootTensor = 0, 0
        return self.group.broadcast([tensor], options)  # type: ignore[attr-defined] # torch's stubs leave it out


def make_store(host: str, world_size: int, seconds: float) -> TCPStore:
    """The trainer's, on a free port, which is ``port`` of it. ``seconds`` is what one waits for another."""
    return TCPStore(host, 0, world_size, is_master=True, timeout=timedelta(seconds=seconds), wait_for_workers=False)


def join_store(host: str, port: int, world_size: int, seconds: float) -> TCPStore:
    """A worker's."""
    return TCPStore(host, port, world_size, is_master=False, timeout=timedelta(seconds=seconds))


def join(store: TCPStore, rank: int, world_size: int, seconds: float) -> WeightGroup:
    """Waits until all are there."""
    group = ProcessGroupGloo(PrefixStore(_NAME, store), rank, world_size, timedelta(seconds=seconds))
    return WeightGroup(group, store)
