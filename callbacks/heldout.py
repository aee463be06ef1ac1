"""What the callbacks that ask held-out prompts share."""

from collections.abc import Sequence
from typing import Any

from callbacks.rollout import RolloutCallback
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile, DataSource
from prism_pl.data.row_checks import Requirements, usable_rows
from prism_pl.errors import UserError
from prism_pl.types import Prompt


class HeldoutPrompts:
    """The usable rows of a data file. Prompts are encoded when they are asked for: each rank needs its share alone.

    Args:
        path: the data file.
        key: its configuration key, for error messages.
        policy: the model whose processor encodes the rows.
        max_prompt_tokens: limit of a prompt, images included.
        needs: columns that every row must have.
    """

    def __init__(self, path: str | DataSource, key: str, policy: str, max_prompt_tokens: int, needs: Sequence[str]) -> None:
        self.data = DataFile.open(path, key)
        self.encoder = PromptEncoder(policy, max_prompt_tokens)
        self.rows: list[int] = usable_rows(self.data, self.encoder, Requirements(tuple(needs))).tolist()

    def check_shares(self, count: int, key: str, num_ranks: int, each: int = 1) -> None:
        """Raises UserError unless each rank gets ``each`` of the first ``count`` prompts. ``key`` is the count's."""
        found = min(count, len(self.rows))
        if found < each * num_ranks:
            raise UserError(
                f"{key}: {found} held-out prompts are too few for {num_ranks} devices, of which each needs {each}. Raise "
                f"it, add rows to the file, or use fewer devices."
            )

    def encode(self, rows: Sequence[int]) -> list[Prompt]:
        """The prompts of these rows."""
        return self.encoder.encode([self.data.prompt_row(row) for row in rows])


def rollout_of(trainer: Any, asker: str) -> RolloutCallback:
    """The run's rollout callback. Raises UserError if there is none."""
    found = next((callback for callback in trainer.callbacks if isinstance(callback, RolloutCallback)), None)
    if found is None:
        raise UserError(f"trainer.callbacks: {asker} needs a RolloutCallback, or an `engine` of its own where it has one.")
    return found
