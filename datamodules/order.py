"""The order of the data: shuffled reproducibly, shared out over ranks, resumable in the middle of an epoch."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from prism_pl.data.balance import balanced
from prism_pl.data.files import DataFile
from prism_pl.data.row_checks import Rows
from prism_pl.errors import UserError
from prism_pl.seeds import derive_seed

_REMEDY = "The order of the rows would be another. Put the old rows back, or start anew in another run_dir."


class OrderedBatches(Sampler[list[int]]):
    """This rank's share of each global batch; the order is a function of seed and epoch alone.

    Batch b of epoch e holds the rows perm(seed, e)[b * size : (b + 1) * size]; rank r of w takes every w-th of them from r
    on or, where the rows' ``tokens`` are known, those that make the ranks' tokens equal. An incomplete last batch is left
    out. Of a part with weight w an epoch holds round(w * its rows), taken one after
    the other from endless passes over it, each pass in an order of its own: no row comes again before all have come.

    Args:
        parts: row numbers of each part of the mixture.
        batch_size: rows of a global batch.
        seed: of the order.
        rank: of this process.
        world_size: number of processes.
        weights: how often an epoch sees the rows of each part; None is once.
        tokens: of each row, by its number.
    """

    def __init__(
        self,
        parts: Sequence[Rows],
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        weights: Sequence[float] | None = None,
        tokens: Rows | None = None,
    ) -> None:
        self.parts = parts
        self.counts = [round(weight * len(part)) for part, weight in zip(parts, weights or [1.0] * len(parts), strict=True)]
        if batch_size % world_size:
            raise UserError(f"data.batch_size is {batch_size}, which {world_size} devices cannot share equally.")
        if sum(self.counts) < batch_size:
            raise UserError(f"data.batch_size is {batch_size}, but an epoch has only {sum(self.counts)} usable rows.")
        self.batch_size, self.seed = batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.tokens = tokens
        self.done = 0
        """Batches that a run before this one has finished."""
        # A batch of the next epoch may be asked for before the last ones of this.
        self._rows = lru_cache(maxsize=2)(self._epoch)

    def __len__(self) -> int:
        return sum(self.counts) // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        epoch = self.done // len(self)
        for number in range(self.done, (epoch + 1) * len(self)):
            self.done += 1
            yield self.batch(number)

    def batch(self, number: int) -> list[int]:
        """This rank's rows of a batch, counted from 0 over all epochs."""
        epoch, index = divmod(number, len(self))
        return self._own(self._rows(epoch)[index * self.batch_size : (index + 1) * self.batch_size]).tolist()

    def _own(self, rows: Rows) -> Rows:
        if self.tokens is None or self.world_size == 1:
            return rows[self.rank :: self.world_size]
        return rows[balanced(self.tokens[rows].tolist(), self.world_size)[self.rank]]

    def _epoch(self, epoch: int) -> Rows:
        taken = np.concatenate([self._taken(number, epoch) for number in range(len(self.parts))])
        return taken[self._permutation(len(taken), "order", epoch)]

    def _taken(self, number: int, epoch: int) -> Rows:
        """An epoch's rows of one part; a whole pass in ascending order, for the epoch is shuffled afterwards."""
        part, count = self.parts[number], self.counts[number]
        pieces: list[Rows] = []
        position, end = epoch * count, (epoch + 1) * count
        while position < end:
            turn, start = divmod(position, len(part))
            stop = min(len(part), start + end - position)
            whole = stop - start == len(part)
            pieces.append(part if whole else part[self._permutation(len(part), "part", number, turn)[start:stop]])
            position += stop - start
        return np.concatenate(pieces) if pieces else part[:0]

    def _permutation(self, length: int, *words: int | str) -> Rows:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, *words))
        return torch.randperm(length, generator=generator).numpy()


def even_batches(count: int, batch_size: int, rank: int = 0, world_size: int = 1) -> list[list[int]]:
    """This rank's share of ``count`` rows in as many batches as they need, of as equal size as possible.

    Every rank has a row of each batch, if there are as many rows as ranks.
    """
    num_batches = max(1, min(-(-count // batch_size), count // world_size))
    return [batch[rank::world_size].tolist() for batch in np.array_split(np.arange(count), num_batches)]


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

    def ordered_loader(
        self,
        parts: Sequence[Rows],
        encode: Callable[[list[int]], Any],
        weights: Sequence[float] | None = None,
        tokens: Rows | None = None,
    ) -> DataLoader[Any]:
        """Batches of what ``encode`` makes of row numbers, in a worker if there are any. ``tokens`` of each row balance the
        ranks; without them each has every w-th row, as the order of a whole batch assumes."""
        assert self.trainer is not None
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        batches = OrderedBatches(parts, self.batch_size, self.seed, rank, world_size, weights, tokens)
        batches.done = self._done
        self._batches = batches
        # "spawn" would import everything again in each worker; the workers only read, so a fork is safe.
        return DataLoader(
            RowNumbers(), batch_sampler=batches, collate_fn=encode, num_workers=self.num_workers,
            multiprocessing_context="fork" if self.num_workers else None,
            # An epoch's order depends on how many batches went before, so one iterator must not serve two epochs.
            persistent_workers=False,
        )  # fmt: skip

    def rows_ahead(self, batches: int) -> list[int] | None:
        """This rank's rows of the batch that comes so many after the present one; None if the last epoch ends before it."""
        assert self.trainer is not None
        number = self._batches_done() + batches
        epochs = self.trainer.max_epochs or -1
        if epochs >= 0 and number >= epochs * self.trainer.num_training_batches:
            return None
        return self._batches.batch(number)

    def _batches_done(self) -> int:
        """Batches that all updates so far have come from, the present one left out."""
        assert self.trainer is not None
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]

    def data_files(self) -> list[DataFile]:
        """What the rows are read from."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {"done": self._batches_done(), "data": [data.content for data in self.data_files()]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises UserError if the rows are not those that the run has begun with: their order would be another."""
        self._done, files = state_dict["done"], self.data_files()
        # Without them an earlier version has made the checkpoint, which the run's folder refuses.
        before = state_dict.get("data", [data.content for data in files])
        if len(before) != len(files):
            raise UserError(f"data: the run began with {len(before)} data files, now there are {len(files)}. {_REMEDY}")
        for data, content in zip(files, before, strict=True):
            if data.content != content:
                raise UserError(
                    f"data: {data.name} holds other rows than when the run began, now {len(data)}: it was replaced or "
                    f"changed meanwhile. {_REMEDY}"
                )


class RowNumbers(Dataset[int]):
    """Every number stands for itself; the collate function reads and encodes a whole batch of rows at once."""

    def __getitem__(self, row: int) -> int:
        return row
