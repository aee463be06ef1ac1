"""One LightningDataModule a kind of data."""

from datamodules.demonstrations import DemonstrationDataModule
from datamodules.pairs import PairDataModule
from datamodules.prompts import PromptDataModule

__all__ = ["DemonstrationDataModule", "PairDataModule", "PromptDataModule"]
