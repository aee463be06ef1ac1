"""Every sampled response on disk, some of them with their images in a W&B table."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L

from callbacks.every import EveryUpdates
from callbacks.loggers import WandbLogger
from prism_pl.contracts import Stage, require
from prism_pl.ranges import PositiveInt
from prism_pl.runs.files import append_lines
from prism_pl.types import Sample


class SampleLog(L.Callback):
    """``samples.jsonl`` gets a line for each response of every rank; the table a few rows every so often.

    Args:
        table_every: adds to the W&B table at each multiple of so many updates.
        table_rows: rows of each addition.
    """

    def __init__(self, table_every: PositiveInt = 10, table_rows: PositiveInt = 4) -> None:
        self.table_rows = table_rows
        self._table_cadence = EveryUpdates(table_every)
        self._table: Any = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._stage = require(pl_module, Stage, "SampleLog")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._table_cadence.restart(trainer.global_step)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not outputs or "samples" not in outputs:
            return
        # All ranks take part: the prompts of a batch are shared out over them.
        groups: list[list[Sample]] = self._stage.whole_batch(outputs["samples"], outputs["places"])
        if not trainer.is_global_zero:
            return
        samples = [sample for group in groups for sample in group]
        lines = [json.dumps({"step": trainer.global_step, **asdict(sample)}) for sample in samples]
        append_lines(Path(trainer.default_root_dir) / "samples.jsonl", lines)
        if self._table_cadence.is_due(trainer.global_step):
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.send(partial(self._add_to_table, logger, samples, trainer.global_step))

    def _add_to_table(self, logger: WandbLogger, samples: list[Sample], step: int) -> None:
        import wandb

        if self._table is None:
            columns: list[str | int] = [
                "step",
                "question",
                "image",
                "response",
                "reward",
                "perception",
                "reasoning",
                "advantage",
            ]
            self._table = wandb.Table(columns=columns, log_mode="INCREMENTAL")
        # Spread over the batch, so that different prompts show.
        for sample in samples[:: max(1, len(samples) // self.table_rows)][: self.table_rows]:
            image = wandb.Image(sample.image) if sample.image else None
            self._table.add_data(
                step, sample.question, image, sample.response,
                sample.reward, sample.perception, sample.reasoning, sample.advantage,
            )  # fmt: skip
        logger.experiment.log({"samples": self._table}, commit=False)
