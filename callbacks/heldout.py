"""What the callbacks that ask held-out prompts share."""

from collections.abc import Sequence
from typing import Any

from callbacks.rollout import RolloutCallback
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile
from prism_pl.data.row_checks import Requirements, usable_rows
from prism_pl.errors import UserError
from prism_pl.types import Prompt


def load_prompts(data: DataFile, encoder: PromptEncoder, needs: Sequence[str], count: int) -> list[Prompt]:
    """The first ``count`` prompts of a data file."""
    rows = usable_rows(data, encoder, Requirements(tuple(needs)))[:count].tolist()
    return encoder.encode([data.prompt_row(row) for row in rows])


def rollout_of(trainer: Any, asker: str) -> RolloutCallback:
    """The run's rollout callback. Raises UserError if there is none."""
    found = next((callback for callback in trainer.callbacks if isinstance(callback, RolloutCallback)), None)
    if found is None:
        raise UserError(f"trainer.callbacks: {asker} needs a RolloutCallback, or an `engine` of its own where it has one.")
    return found
