"""Warns in words when the game goes wrong, once for each thing, and keeps what it said."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L

from prism_pl.contracts import Stage, require
from prism_pl.game import HealthLimits, Unreached, diagnose
from prism_pl.ranges import PositiveInt
from prism_pl.runs.files import append_lines

_log = logging.getLogger(__name__)


class HealthAlarm(L.Callback):
    """Reads the latest metrics after every step: saturation, a flaw that whole groups share, collapse, length
    hacking, image ignored, zero-std groups.

    An alarm must hold for ``patience`` steps in a row before it is spoken, and is spoken again only after it was clear.
    ``health.jsonl`` keeps every sentence with its step.

    Args:
        limits: where each alarm starts.
        patience: steps in a row.
    """

    def __init__(self, limits: HealthLimits = HealthLimits(), patience: PositiveInt = 3) -> None:  # noqa: B008 (frozen)
        self.limits = limits
        self.patience = patience
        self._held: dict[str, int] = {}
        self._unreached = Unreached()

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._stage = require(pl_module, Stage, "HealthAlarm")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._unreached.update(self._stage.latest)
        alarms = diagnose(self._stage.latest, self.limits, self._unreached)
        self._held = {alarm.name: self._held.get(alarm.name, 0) + 1 for alarm in alarms}
        for alarm in alarms:
            if self._held[alarm.name] == self.patience and trainer.is_global_zero:
                _log.warning("update %d: %s", trainer.global_step, alarm.sentence)
                line = {"step": trainer.global_step, "alarm": alarm.name, "sentence": alarm.sentence}
                append_lines(Path(trainer.default_root_dir) / "health.jsonl", [json.dumps(line)])

    def state_dict(self) -> dict[str, Any]:
        return {"held": self._held, "unreached": asdict(self._unreached)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._held = state_dict["held"]
        self._unreached = Unreached(**state_dict["unreached"])
