"""Values of all ranks: reduced, gathered, and put back into the order of the batch that was dealt."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch

from prism_pl.model.sharding import place_rows
from prism_pl.ranks import gather_objects


class AcrossRanks(L.LightningModule):
    """What a stage knows of its other ranks. A batch of n rows is dealt out: rank r has rows r, r + w, ... of w ranks."""

    def all_reduce(self, value: torch.Tensor | float, op: str = "sum") -> torch.Tensor:
        """The sum, or another reduction, over ranks."""
        tensor = torch.as_tensor(value, dtype=torch.float64, device=self.device)
        return self.trainer.strategy.reduce(tensor.clone(), reduce_op=op)

    def gather(self, own: Any) -> list[Any]:
        """Every rank's object, in the order of the ranks."""
        return gather_objects(own)

    def places(self, count: int) -> Sequence[int]:
        """Where this rank's ``count`` rows are in the batch before it is dealt: every w-th of w ranks, from its own on."""
        return range(self.global_rank, self.global_rank + count * self.trainer.world_size, self.trainer.world_size)

    def whole_batch(self, own: list[Any], places: Sequence[int] | None = None) -> list[Any]:
        """The values of all ranks' rows, in the order of the batch; ``places`` there of this rank's, if they were dealt."""
        placed = zip(self.places(len(own)) if places is None else places, own, strict=True)
        everyone = [pair for share in self.gather(list(placed)) for pair in share]
        return [value for _, value in sorted(everyone, key=lambda pair: pair[0])]

    def whole_rows(self, own: torch.Tensor, places: Sequence[int] | None = None) -> torch.Tensor:
        """A tensor of all ranks' rows, in the order of the batch; a gradient reaches this rank's own rows only."""
        places = self.places(len(own)) if places is None else places
        return place_rows(torch.stack(self.whole_batch(list(own.detach()), places)), own, places)

    def gather_numbers(self, own_N: torch.Tensor) -> torch.Tensor:
        """Every rank's numbers, ranks first."""
        own = own_N.to(self.device)
        gathered_RN = [torch.empty_like(own) for _ in range(self.trainer.world_size)]
        torch.distributed.all_gather(gathered_RN, own)
        return torch.stack(gathered_RN).to(own_N.device)
