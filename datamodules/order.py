"""The order of the data: shuffled reproducibly, shared out over ranks, resumable in the middle of an epoch."""

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from prism_pl.errors import UserError
from prism_pl.seeds import derive_seed


class OrderedBatches(Sampler[list[int]]):
    """This rank's share of each global batch; the order is a function of seed and epoch alone.

    Batch b of epoch e holds the rows perm(seed, e)[b * size : (b + 1) * size]; rank r of w takes every w-th of them from r
    on. An incomplete last batch is left out.
    """

    def __init__(self, num_rows: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if batch_size % world_size:
            raise UserError(f"data.batch_size is {batch_size}, which {world_size} devices cannot share equally.")
        if num_rows < batch_size:
            raise UserError(f"data.batch_size is {batch_size}, but the data has only {num_rows} usable rows.")
        self.num_rows, self.batch_size, self.seed = num_rows, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.done = 0
        """Batches that a run before this one has finished."""

    def __len__(self) -> int:
        return self.num_rows // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        epoch, start = divmod(self.done, len(self))
        order = torch.randperm(
            self.num_rows, generator=torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
        ).tolist()
        for batch in range(start, len(self)):
            self.done += 1
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield rows[self.rank :: self.world_size]


class OrderedDataModule(L.LightningDataModule):
    """A training loader over ``OrderedBatches`` that a checkpoint can continue.

    Args:
        batch_size: rows of an update (prompts, in alignment and RLVR), over all devices together.
        seed: of the order.
        num_workers: processes that read and encode the rows.
    """

    def __init__(self, batch_size: int, seed: int, num_workers: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self._done = 0

    def ordered_loader(self, dataset: Dataset[Any], num_rows: int, collate: Any) -> DataLoader[Any]:
        assert self.trainer is not None
        batches = OrderedBatches(num_rows, self.batch_size, self.seed, self.trainer.global_rank, self.trainer.world_size)
        batches.done = self._done
        # "spawn" would import everything again in each worker; the workers only read, so a fork is safe.
        return DataLoader(
            dataset, batch_sampler=batches, collate_fn=collate, num_workers=self.num_workers,
            multiprocessing_context="fork" if self.num_workers else None,
            # An epoch's order depends on how many batches went before, so one iterator must not serve two epochs.
            persistent_workers=False,
        )  # fmt: skip

    def state_dict(self) -> dict[str, int]:
        assert self.trainer is not None
        return {"done": self.trainer.fit_loop.epoch_loop.batch_progress.total.processed}  # type: ignore[attr-defined]

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._done = state_dict["done"]


class IndexDataset(Dataset[int]):
    """Row numbers; the collate function reads and encodes a whole batch at once."""

    def __init__(self, indices: list[int]) -> None:
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> int:
        return self.indices[position]
