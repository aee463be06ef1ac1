"""Prompts for alignment and RLVR."""

import random
from typing import Any

from torch.utils.data import DataLoader

from datamodules.order import IndexDataset, OrderedDataModule
from prism_pl.conversation import PromptEncoder
from prism_pl.rows import DataFile, usable_rows
from prism_pl.seeds import derive_seed
from prism_pl.types import Prompt, PromptBatch


class PromptDataModule(OrderedDataModule):
    """Rows with a prompt and an ``answer`` or a ``teacher`` response.

    Args:
        path: data file, or ``embedded/digits/align.jsonl``, ``embedded/digits/rlvr.jsonl``.
        model: the model whose processor encodes the rows.
        batch_size: prompts of a rollout batch, over all devices together.
        needs: columns that every row must have, ``answer`` or ``teacher``.
        max_prompt_tokens: limit of a prompt, images included.
        drop_too_long: drop and count rows over the limit instead of stopping.
        seed: of the order.
        num_workers: processes that read and encode rows.
    """

    def __init__(
        self,
        path: str,
        model: str,
        batch_size: int,
        needs: list[str],
        max_prompt_tokens: int = 2048,
        drop_too_long: bool = False,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, num_workers)
        self.path = path
        self.model = model
        self.needs = needs
        self.max_prompt_tokens = max_prompt_tokens
        self.drop_too_long = drop_too_long

    def setup(self, stage: str) -> None:
        self.data = DataFile.open(self.path, "data.path")
        self.encoder = PromptEncoder(self.model, self.max_prompt_tokens)
        self.indices = usable_rows(self.data, self.encoder, needs=self.needs, drop_too_long=self.drop_too_long)

    def encode(self, indices: list[int]) -> PromptBatch:
        return PromptBatch(self._prompts(indices))

    def draw(self, count: int, *words: int | str) -> list[Prompt]:
        """Further random prompts, a function of the seed and ``words`` alone: for groups that must be replaced."""
        rng = random.Random(derive_seed(self.seed, "draw", *words))
        return self._prompts(rng.sample(self.indices, min(count, len(self.indices))))

    def by_source(self, sources: list[str]) -> list[Prompt]:
        """The prompts that earlier batches called ``file:row``."""
        return self._prompts([int(source.rpartition(":")[2]) - 1 for source in sources])

    def _prompts(self, indices: list[int]) -> list[Prompt]:
        return self.encoder.encode([self.data.prompt_row(index) for index in indices])

    def train_dataloader(self) -> DataLoader[Any]:
        return self.ordered_loader(IndexDataset(self.indices), len(self.indices), self.encode)
