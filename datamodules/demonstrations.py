"""Demonstrations for SFT."""

from typing import Any

from torch.utils.data import DataLoader

from datamodules.order import IndexDataset, OrderedDataModule
from prism_pl.conversation import PromptEncoder
from prism_pl.rows import DataFile, usable_rows
from prism_pl.types import Demonstration


class DemonstrationDataModule(OrderedDataModule):
    """Rows whose last turn is the response to learn.

    Args:
        path: data file, or ``embedded/digits/sft.jsonl``.
        model: the model whose processor encodes the rows.
        batch_size: demonstrations an update, over all devices together.
        max_prompt_tokens: limit of a prompt, images included.
        max_response_tokens: limit of a response.
        drop_too_long: drop and count rows over a limit instead of stopping.
        seed: of the order.
        num_workers: processes that read and encode rows.
    """

    def __init__(
        self,
        path: str,
        model: str,
        batch_size: int,
        max_prompt_tokens: int = 2048,
        max_response_tokens: int = 8192,
        drop_too_long: bool = False,
        seed: int = 0,
        num_workers: int = 1,
    ) -> None:
        super().__init__(batch_size, seed, num_workers)
        self.path = path
        self.model = model
        self.max_prompt_tokens = max_prompt_tokens
        self.max_response_tokens = max_response_tokens
        self.drop_too_long = drop_too_long

    def setup(self, stage: str) -> None:
        self.data = DataFile.open(self.path, "data.path")
        self.encoder = PromptEncoder(self.model, self.max_prompt_tokens)
        self.indices = usable_rows(
            self.data,
            self.encoder,
            max_response_tokens=self.max_response_tokens,
            drop_too_long=self.drop_too_long,
        )

    def encode(self, indices: list[int]) -> list[Demonstration]:
        prompts = self.encoder.encode([self.data.prompt_row(index) for index in indices])
        return [
            Demonstration(prompt, self.encoder.response_ids(self.data.response(index)))
            for prompt, index in zip(prompts, indices, strict=True)
        ]

    def train_dataloader(self) -> DataLoader[Any]:
        return self.ordered_loader(IndexDataset(self.indices), len(self.indices), self.encode)
