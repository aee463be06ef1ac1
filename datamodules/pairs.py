"""Pairs of teacher and policy responses for the warm-up of the discriminator."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from datamodules.order import OrderedDataModule, RowNumbers, even_batches
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile, DataSource
from prism_pl.data.row_checks import DataCheck, Requirements, usable_rows
from prism_pl.engines import RolloutEngine
from prism_pl.engines.answer_file import answer_rows, kept_texts
from prism_pl.errors import UserError
from prism_pl.heartbeat import within
from prism_pl.ranges import NonNegativeInt, PositiveInt
from prism_pl.ranks import gather_objects
from prism_pl.runs.files import read_lines, write_atomically
from prism_pl.types import Pair, SamplingOptions


@dataclass(frozen=True)
class _Side:
    """Training or held-out rows, and where the policy's responses to them are kept."""

    data: DataFile
    rows: list[int]
    file: Path
    sampling: SamplingOptions

    def share(self, rank: int) -> Path:
        """Where a rank keeps its answers until all are there."""
        return self.file.with_name(f"{self.file.stem}.rank{rank}.jsonl")

    def shares(self) -> list[Path]:
        """All ranks' files that are on this disk, also those of a run on more ranks."""
        return sorted(self.file.parent.glob(f"{self.file.stem}.rank*.jsonl"))


class PairDataModule(OrderedDataModule):
    """Rows with a teacher's response, and the policy's.

    A file that brings the policy's side along (``student_response``; or ``student_caption`` and ``student_cot``, as in
    PRISM's warm-up data) is used as it is. Otherwise all ranks sample the policy once and its responses are kept in the run
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

    def setup(self, stage: str) -> None:
        """Samples the policy's responses to ``pairs.jsonl`` and ``pairs_heldout.jsonl``, going on where a run stopped.

        Each rank samples its share and keeps it on disk as it comes; what is there is gathered, whoever has sampled it. Not
        in ``prepare_data``, which Lightning calls on one rank while the others wait: an engine starts on all or on none.
        """
        self._open()
        started = False
        sampled: list[list[tuple[DataFile, int, str | None]]] = []
        for side in self.sides:
            if side.data.has_policy_side:
                sampled.append([(side.data, row, None) for row in side.rows])
                continue
            kept = self._kept(side)
            todo = [row for row in side.rows if row not in kept]
            if todo:
                if not started:
                    self.engine.start(self.policy, self.max_prompt_tokens, self.sampling)
                    started = True
                self._sample(side, todo)
                kept = self._kept(side)
            self._join(side, kept)
            sampled.append([(side.data, row, text) for row in side.rows for text in kept[row]])
        if started:
            self.engine.close()
        self.items, self.heldout_items = sampled

    def data_files(self) -> list[DataFile]:
        return [side.data for side in self.sides]

    def _kept(self, side: _Side) -> dict[int, list[str]]:
        """The responses on all disks by row; one rank reads each disk."""
        assert self.trainer is not None
        lines = [line for file in (side.file, *side.shares()) for line in read_lines(file)] if self._reads_disk else []
        everyone = gather_objects([(line["row"], line["responses"]) for line in lines])
        return {row: texts for own in everyone for row, texts in own}

    @property
    def _reads_disk(self) -> bool:
        """Whether this rank is the first of its node."""
        assert self.trainer is not None
        return self.trainer.local_rank == 0

    def _sample(self, side: _Side, todo: list[int]) -> None:
        """This rank's share of the rows, to a file of its own."""
        assert self.trainer is not None
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        with within("pairs"):
            answer_rows(
                self.engine, side.data, self.encoder, todo[rank::world_size], side.share(rank), side.sampling, kept_texts,
                self.seed, "pairs", total=len(side.rows[rank::world_size]),
            )  # fmt: skip
        # All files are written before anyone reads them.
        self.trainer.strategy.barrier("sampled")

    def _join(self, side: _Side, kept: dict[int, list[str]]) -> None:
        """One file in the order of the rows, in place of the ranks'."""
        assert self.trainer is not None
        if self.trainer.is_global_zero and (side.shares() or not side.file.exists()):
            lines = "".join(json.dumps({"row": row, "responses": kept[row]}) + "\n" for row in side.rows)
            write_atomically(side.file, lines)
        # On a disk of its own a node's shares are all that it has; on a shared one they have been joined.
        self.trainer.strategy.barrier("joined")
        if side.file.exists() and self._reads_disk:
            for file in side.shares():
                file.unlink(missing_ok=True)

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
        assert self.trainer is not None
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        if len(self.heldout_items) < world_size:
            raise UserError(
                f"data.num_heldout: {len(self.heldout_items)} held-out pairs are too few for {world_size} devices, of "
                f"which each needs one. Raise it, add rows to data.heldout_path, or use fewer devices."
            )
        batches = even_batches(len(self.heldout_items), self.batch_size, rank, world_size)
        return DataLoader(RowNumbers(), batch_sampler=batches, collate_fn=collate)
