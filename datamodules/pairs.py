"""Pairs of teacher and policy responses for the warm-up of the discriminator."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from datamodules.order import OrderedDataModule, RowNumbers
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile, DataSource
from prism_pl.data.row_checks import DataCheck, Requirements, usable_rows
from prism_pl.engines import RolloutEngine
from prism_pl.engines.answer_file import answer_rows, kept_texts
from prism_pl.ranges import NonNegativeInt, PositiveInt
from prism_pl.runs.files import read_lines
from prism_pl.types import Pair, SamplingOptions


@dataclass(frozen=True)
class _Side:
    """Training or held-out rows, and where the policy's responses to them are kept."""

    data: DataFile
    rows: list[int]
    file: Path
    sampling: SamplingOptions

    @property
    def unanswered(self) -> bool:
        return not self.data.has_policy_side and len(read_lines(self.file)) < len(self.rows)

    def pairs(self) -> list[tuple[int, str | None]]:
        """Row and response, one pair a response; None where the row itself holds it."""
        if self.data.has_policy_side:
            return [(row, None) for row in self.rows]
        return [(line["row"], text) for line in read_lines(self.file) for text in line["responses"]]


class PairDataModule(OrderedDataModule):
    """Rows with a teacher's response, and the policy's.

    A file that brings the policy's side along (``student_response``; or ``student_caption`` and ``student_cot``, as in
    PRISM's warm-up data) is used as it is. Otherwise the policy is sampled once and its responses are kept in the run
    folder; ``python -m prism_pl pairs`` does the same ahead of time, for several runs.

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
        path: str | DataSource,
        heldout_path: str | DataSource,
        policy: str,
        engine: RolloutEngine,
        sampling: SamplingOptions,
        batch_size: PositiveInt,
        num_heldout: PositiveInt = 256,
        max_prompt_tokens: PositiveInt = 2048,
        drop_too_long: bool = False,
        seed: NonNegativeInt = 0,
        num_workers: NonNegativeInt = 0,
    ) -> None:
        super().__init__(batch_size, seed, num_workers)
        self.path = path
        self.heldout_path = heldout_path
        self.policy = policy
        self.engine = engine
        self.sampling = sampling
        self.num_heldout = num_heldout
        self.max_prompt_tokens = max_prompt_tokens
        self.requirements = Requirements(("teacher",), drop_too_long=drop_too_long, policy_side=True)

    def checks(self) -> list[DataCheck]:
        """For ``check-data``: every path, and what is asked of its rows."""
        paths = {"data.path": self.path, "data.heldout_path": self.heldout_path}
        return [DataCheck(p, key, self.policy, self.max_prompt_tokens, self.requirements) for key, p in paths.items()]

    def prepare_data(self) -> None:
        """Samples the policy's responses to ``pairs.jsonl`` and ``pairs_heldout.jsonl``, going on where a run stopped."""
        self._open()
        unanswered = [side for side in self.sides if side.unanswered]
        if not unanswered:
            return
        self.engine.start(self.policy, self.max_prompt_tokens, self.sampling)
        for side in unanswered:
            answer_rows(
                self.engine, side.data, self.encoder, side.rows, side.file, side.sampling, kept_texts, self.seed, "pairs"
            )
        self.engine.close()

    def setup(self, stage: str) -> None:
        self._open()
        self.items, self.heldout_items = ([(side.data, row, text) for row, text in side.pairs()] for side in self.sides)

    def _open(self) -> None:
        if hasattr(self, "sides"):
            return
        assert self.trainer is not None
        folder = Path(self.trainer.default_root_dir)
        self.encoder = PromptEncoder(self.policy, self.max_prompt_tokens)
        single = SamplingOptions(max_new_tokens=self.sampling.max_new_tokens, group_size=1)
        self.sides = (
            self._side(self.path, "data.path", folder / "pairs.jsonl", self.sampling, None),
            self._side(self.heldout_path, "data.heldout_path", folder / "pairs_heldout.jsonl", single, self.num_heldout),
        )

    def _side(self, path: str | DataSource, key: str, file: Path, sampling: SamplingOptions, count: int | None) -> _Side:
        data = DataFile.open(path, key)
        return _Side(data, usable_rows(data, self.encoder, self.requirements)[:count].tolist(), file, sampling)

    def _encode(self, items: Sequence[tuple[DataFile, int, str | None]]) -> list[Pair]:
        rows = [data.prompt_row(row) for data, row, _ in items]
        texts = [row.student or "" if text is None else text for row, (_, _, text) in zip(rows, items, strict=True)]
        return [Pair(prompt, text) for prompt, text in zip(self.encoder.encode(rows), texts, strict=True)]

    def train_dataloader(self) -> DataLoader[Any]:
        return self.ordered_loader(
            [np.arange(len(self.items))], lambda numbers: self._encode([self.items[n] for n in numbers])
        )

    def val_dataloader(self) -> DataLoader[Any]:
        collate = lambda numbers: self._encode([self.heldout_items[n] for n in numbers])  # noqa: E731
        numbers = range(len(self.heldout_items))
        return DataLoader(RowNumbers(), sampler=numbers, batch_size=self.batch_size, collate_fn=collate)
