"""Pairs of teacher and policy responses for the warm-up of the discriminator."""

from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from datamodules.order import IndexDataset, OrderedDataModule
from prism_pl.answer_file import answer_rows
from prism_pl.conversation import PromptEncoder
from prism_pl.engines import RolloutEngine
from prism_pl.options import SamplingOptions
from prism_pl.rows import DataFile, usable_rows
from prism_pl.run_files import read_lines
from prism_pl.types import Pair, PromptBatch


def _record(batch: PromptBatch) -> list[dict[str, Any]]:
    return [{"responses": texts} for texts in batch.texts]


class PairDataModule(OrderedDataModule):
    """Rows with a teacher's response; the policy's side is sampled once, by the policy itself, and kept in the run folder.

    Args:
        path: data file, or ``embedded/digits/align.jsonl``.
        heldout_path: file of prompts that no stage trains on.
        policy: the SFT model that answers the prompts.
        engine: ``VLLMEngine`` or ``TransformersEngine``.
        sampling: how the policy is sampled; ``group_size`` pairs a prompt.
        batch_size: pairs of an update, over all devices together.
        num_heldout: held-out prompts used, each with one pair.
        max_prompt_tokens: limit of a prompt, images included.
        drop_too_long: drop and count rows over the limit instead of stopping.
        seed: of sampling and order.
        num_workers: processes that read and encode rows.
    """

    def __init__(
        self,
        path: str,
        heldout_path: str,
        policy: str,
        engine: RolloutEngine,
        sampling: SamplingOptions,
        batch_size: int,
        num_heldout: int = 256,
        max_prompt_tokens: int = 2048,
        drop_too_long: bool = False,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, num_workers)
        self.path = path
        self.heldout_path = heldout_path
        self.policy = policy
        self.engine = engine
        self.sampling = sampling
        self.num_heldout = num_heldout
        self.max_prompt_tokens = max_prompt_tokens
        self.drop_too_long = drop_too_long

    def prepare_data(self) -> None:
        """Samples the policy's responses to ``pairs.jsonl`` and ``pairs_heldout.jsonl``, going on where a run stopped."""
        missing = [job for job in self._jobs() if len(read_lines(job[1])) < len(job[2])]
        if not missing:
            return
        self.engine.start(self.policy, self.max_prompt_tokens, self.sampling)
        for data, file, rows, sampling in missing:
            answer_rows(self.engine, data, self.encoder, rows, file, sampling, _record, self.seed, "pairs")
        self.engine.close()

    def setup(self, stage: str) -> None:
        # The rows were checked when the responses were sampled.
        self.encoder = PromptEncoder(self.policy, self.max_prompt_tokens)
        self.items = self._items(self.path, "data.path", "pairs.jsonl")
        self.heldout_items = self._items(self.heldout_path, "data.heldout_path", "pairs_heldout.jsonl")

    def _items(self, path: str, key: str, file: str) -> list[tuple[DataFile, int, str]]:
        """One pair a sampled response: its data file, row and text."""
        assert self.trainer is not None
        data = DataFile.open(path, key)
        lines = read_lines(Path(self.trainer.default_root_dir) / file)
        return [(data, line["row"], text) for line in lines for text in line["responses"]]

    def _jobs(self) -> list[tuple[DataFile, Path, list[int], SamplingOptions]]:
        assert self.trainer is not None
        folder = Path(self.trainer.default_root_dir)
        self.encoder = PromptEncoder(self.policy, self.max_prompt_tokens)
        data = DataFile.open(self.path, "data.path")
        heldout = DataFile.open(self.heldout_path, "data.heldout_path")
        single = SamplingOptions(max_new_tokens=self.sampling.max_new_tokens, group_size=1)
        return [
            (
                data,
                folder / "pairs.jsonl",
                usable_rows(data, self.encoder, needs=("teacher",), drop_too_long=self.drop_too_long),
                self.sampling,
            ),
            (
                heldout,
                folder / "pairs_heldout.jsonl",
                usable_rows(heldout, self.encoder, needs=("teacher",), drop_too_long=self.drop_too_long)[
                    : self.num_heldout
                ],
                single,
            ),
        ]

    def _encode(self, items: list[tuple[DataFile, int, str]]) -> list[Pair]:
        prompts = self.encoder.encode([data.prompt_row(row) for data, row, _ in items])
        return [Pair(prompt, text) for prompt, (_, _, text) in zip(prompts, items, strict=True)]

    def train_dataloader(self) -> DataLoader[Any]:
        dataset = IndexDataset(list(range(len(self.items))))
        return self.ordered_loader(dataset, len(self.items), lambda idx: self._encode([self.items[i] for i in idx]))

    def val_dataloader(self) -> DataLoader[Any]:
        dataset = IndexDataset(list(range(len(self.heldout_items))))
        collate = lambda idx: self._encode([self.heldout_items[i] for i in idx])  # noqa: E731
        return DataLoader(dataset, batch_size=self.batch_size, collate_fn=collate)
