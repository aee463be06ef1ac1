"""Weights on their way to an engine's process: a copy in memory that both processes see.

On a CPU it is shared memory, on a GPU device memory that CUDA IPC hands over. Nothing is written to a file, and after
a kill of both processes nothing of it is left.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.multiprocessing.reductions import reduce_tensor

_BLOCK = 2**26
"""Bytes that are shared at once, or a single tensor's if it has more: a tensor each would need a file descriptor each."""
_ALIGNMENT = 64


@dataclass(frozen=True)
class Place:
    """Where a tensor is."""

    name: str
    block: int
    start: int
    """In bytes."""
    shape: tuple[int, ...]
    dtype: torch.dtype


class SharedWeights:
    """The copy. The same tensors are written in the same order each time."""

    def __init__(self) -> None:
        self._blocks: list[torch.Tensor] = []
        self.places: list[Place] = []
        """Of the tensors that are in it; empty before the first."""

    @property
    def blocks(self) -> "list[_Handle]":
        """For the other process, where they are tensors."""
        return [_Handle(block) for block in self._blocks]

    def write(self, weights: Iterable[tuple[str, torch.Tensor]]) -> bool:
        """Copies them. True if there are blocks now that the other process has not been given."""
        before, places, device = len(self._blocks), [], torch.device("cpu")
        block, used = -1, 0
        for name, tensor in weights:
            device = tensor.device
            if block < 0 or used + tensor.nbytes > self._blocks[block].nbytes:
                block, used = block + 1, 0
                if block == len(self._blocks):
                    self._blocks.append(_shared(max(_BLOCK, tensor.nbytes), device))
            place = Place(name, block, used, tuple(tensor.shape), tensor.dtype)
            _tensor(self._blocks, place).copy_(tensor)
            places.append(place)
            used += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
        assert not self.places or places == self.places, "other weights than before"
        self.places = places
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return len(self._blocks) > before


def read(blocks: Sequence[torch.Tensor], places: Sequence[Place]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors by name, as views of the blocks."""
    return ((place.name, _tensor(blocks, place)) for place in places)


def _tensor(blocks: Sequence[torch.Tensor], place: Place) -> torch.Tensor:
    size = prod(place.shape) * place.dtype.itemsize
    return blocks[place.block][place.start : place.start + size].view(place.dtype).view(place.shape)


def _shared(size: int, device: torch.device) -> torch.Tensor:
    block = torch.empty(size, dtype=torch.uint8, device=device)
    return block.share_memory_() if device.type == "cpu" else block


class _Handle:
    """A tensor that pickle hands over as the memory it is in; at the other end it is a tensor."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor

    def __reduce__(self) -> Any:
        return reduce_tensor(self._tensor)
