"""Rows of one data file or of a weighted mixture, checked before the first step."""

from typing import Any

from torch.utils.data import DataLoader

from datamodules.order import OrderedDataModule
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile, DataPath, Mixture
from prism_pl.data.row_checks import DataCheck, Requirements, Rows, usable_mixture


class MixtureDataModule(OrderedDataModule):
    """Opens and checks the rows; what a batch is made of is the subclass's.

    Args:
        path: data file, or a list of sources with weights.
        policy: the model whose processor encodes the rows; the stage's own, unless it is said.
        max_prompt_tokens: limit of a prompt, images included.
        requirements: what every row must have.
        batch_size: rows of an update, over all devices together.
        seed: of the order.
        num_workers: processes that read and encode rows.
    """

    def __init__(
        self,
        path: DataPath,
        policy: str,
        max_prompt_tokens: int,
        requirements: Requirements,
        batch_size: int,
        seed: int,
        num_workers: int,
    ) -> None:
        super().__init__(batch_size, seed, num_workers)
        self.path = path
        self.policy = policy
        self.max_prompt_tokens = max_prompt_tokens
        self.requirements = requirements

    def checks(self) -> list[DataCheck]:
        """For ``check-data``: every path, and what is asked of its rows."""
        return [DataCheck(self.path, "data.path", self.policy, self.max_prompt_tokens, self.requirements)]

    def prepare_data(self) -> None:
        # One process a node checks the rows; the others find its results in the cache.
        self.setup("fit")

    def setup(self, stage: str) -> None:
        if not hasattr(self, "parts"):
            self.data = Mixture.open(self.path, "data.path")
            self.encoder = PromptEncoder(self.policy, self.max_prompt_tokens)
            self.parts = usable_mixture(self.data, self.encoder, self.requirements)

    def data_files(self) -> list[DataFile]:
        return [*self.data.files]

    def encode(self, rows: list[int]) -> Any:
        """A batch of the rows with these numbers."""
        raise NotImplementedError

    def tokens(self) -> Rows | None:
        """Of each row, where they are known before the step; ranks are then balanced by them."""
        return None

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        # A single process has nobody to share with, and need not look the counts up.
        tokens = self.tokens() if self.trainer.world_size > 1 else None
        return self.ordered_loader(self.parts, self.encode, self.data.weights, tokens)
