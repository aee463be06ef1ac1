"""Prompts for alignment and RLVR."""

import random

import numpy as np

from datamodules.mixture import MixtureDataModule
from prism_pl.data.files import DataPath
from prism_pl.data.row_checks import Requirements
from prism_pl.ranges import NonNegativeInt, PositiveInt
from prism_pl.seeds import derive_seed
from prism_pl.types import Prompt, PromptBatch


class PromptDataModule(MixtureDataModule):
    """Rows with a prompt and an ``answer`` or a ``teacher`` response.

    Args:
        path: data file, or ``embedded/digits/align.jsonl``, ``embedded/digits/rlvr.jsonl``; or a list of
            sources with weights.
        policy: the model whose processor encodes the rows; the stage's own, unless it is said.
        batch_size: prompts of a rollout batch, over all devices together.
        needs: columns that every row must have, ``answer`` or ``teacher``.
        max_prompt_tokens: limit of a prompt, images included.
        drop_too_long: drop and count rows over the limit instead of stopping.
        seed: of the order.
        num_workers: processes that read and encode rows.
    """

    def __init__(
        self,
        path: DataPath,
        policy: str,
        batch_size: PositiveInt,
        needs: list[str],
        max_prompt_tokens: PositiveInt = 2048,
        drop_too_long: bool = False,
        seed: NonNegativeInt = 0,
        num_workers: NonNegativeInt = 0,
    ) -> None:
        requirements = Requirements(tuple(needs), drop_too_long=drop_too_long)
        super().__init__(path, policy, max_prompt_tokens, requirements, batch_size, seed, num_workers)
        self._encoded: dict[tuple[int, ...], list[Prompt]] = {}
        """What ``upcoming`` has made of batches that have not come yet."""

    def encode(self, rows: list[int]) -> PromptBatch:
        return PromptBatch(self._encoded.pop(tuple(rows), []) or self._prompts(rows))

    def upcoming(self, batches: int) -> list[Prompt] | None:
        rows = self.rows_ahead(batches)
        if rows is None:
            return None
        prompts = self._prompts(rows)
        if not self.num_workers:
            # A worker's ``encode`` would not see it.
            self._encoded[tuple(rows)] = prompts
        return prompts

    def draw(self, count: int, *words: int | str) -> list[str]:
        """Names of random prompts to replace groups of no use: a function of the seed and ``words``, all rows alike."""
        ends = np.cumsum([len(part) for part in self.parts]).tolist()
        rng = random.Random(derive_seed(self.seed, "draw", *words))
        positions = rng.sample(range(ends[-1]), min(count, ends[-1]))
        numbers = np.searchsorted(ends, positions, side="right").tolist()
        # A position within its part, counted from the part's end.
        rows = [int(self.parts[n][p - ends[n]]) for n, p in zip(numbers, positions, strict=True)]
        return [self.data.source(row) for row in rows]

    def by_source(self, sources: list[str]) -> list[Prompt]:
        """The prompts that earlier batches called ``file:row``."""
        return self._prompts([self.data.find(source) for source in sources])

    def _prompts(self, rows: list[int]) -> list[Prompt]:
        return self.encoder.encode([self.data.prompt_row(row) for row in rows])
