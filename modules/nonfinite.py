"""A loss or a gradient that is not finite: its update is left out, named and counted, and only so many in a row.

One NaN in an update would make every weight NaN. The rest of the batch is lost with it: gradients are sums. A score that is
not finite costs its response's advantage alone; so many batches in a row with such a score end the run, too.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

import torch

from prism_pl.errors import UserError
from prism_pl.model.packing import Suspects

_log = logging.getLogger(__name__)
_MOST_NAMED = 8
_SCORE = "score"
"""Beside the optimizers' names."""

Look = tuple[torch.Tensor, Suspects | None]
"""Whether a micro-batch's loss is not finite, as a scalar on the device, and what may have made it so."""


class NonFiniteGuard:
    """Remembers what was seen between two updates, and how many updates of each optimizer were left out in a row.

    Args:
        limit: the run stops at this many in a row.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._looks: list[Look] = []
        self._in_a_row: Counter[str] = Counter()

    def look(self, loss: torch.Tensor, suspects: Suspects | None = None) -> None:
        """Looks at a micro-batch's loss, a scalar, without waiting for the device: its next work is queued at once."""
        self._looks.append((~loss.detach().isfinite(), suspects))

    def take(self, norm: torch.Tensor) -> tuple[torch.Tensor, Callable[[], list[str]]]:
        """Whether a loss since the last update, or the gradient's norm, was not finite on this rank, as a scalar on the
        device; and what names the suspects, to be asked if it was."""
        looks, self._looks = self._looks, []
        return torch.stack([~norm.isfinite(), *(bad for bad, _ in looks)]).any(), partial(_names, looks)

    def applied(self, name: str) -> None:
        """An update of the optimizer ``name`` was finite."""
        self._in_a_row[name] = 0

    def left_out(self, name: str, step: int, suspects: Iterable[str], *, speaks: bool) -> None:
        """An update was left out. ``suspects`` are those of all ranks; one rank ``speaks``.

        Raises UserError, on every rank, at ``limit`` in a row.
        """
        self._in_a_row[name] += 1
        count, told = self._in_a_row[name], _told([*dict.fromkeys(suspects)])
        if count >= self.limit:
            raise UserError(
                f"{name}: the loss or the gradient of {count} updates in a row was not finite "
                f"(model.nonfinite_limit: {self.limit}), so none of them changed a weight. In the last one: {told}. Look "
                f"at these rows, try a lower learning rate, or start again from an earlier model."
            )
        if speaks:
            _log.warning(
                "After update %d: %s: the loss or the gradient is not finite, so this update is left out (%d in a row, the "
                "run stops at %d): %s.",
                step, name, count, self.limit, told,
            )  # fmt: skip

    def scored(self, step: int, lost: Iterable[str], *, speaks: bool) -> None:
        """A batch was scored; ``lost`` are the responses of all ranks whose score is not finite.

        Raises UserError, on every rank, at ``limit`` batches with such a score in a row.
        """
        names = [*lost]
        self._in_a_row[_SCORE] = self._in_a_row[_SCORE] + 1 if names else 0
        count = self._in_a_row[_SCORE]
        if count >= self.limit:
            raise UserError(
                f"discriminator: in {count} batches in a row it gave a score that is not finite (model.nonfinite_limit: "
                f"{self.limit}). In the last one: {_told(names)}. Look at these rows, try a lower learning rate of the "
                f"discriminator, or start again from an earlier one."
            )
        if names and speaks:
            _log.warning(
                "After update %d: the discriminator's score of %d responses is not finite. Their advantage is 0, and the "
                "others of their groups are compared without them (%d batches in a row, the run stops at %d): %s.",
                step, len(names), count, self.limit, _told(names),
            )  # fmt: skip


def _names(looks: Iterable[Look]) -> list[str]:
    found = (suspects.names() for bad, suspects in looks if suspects is not None and bad)
    return [*dict.fromkeys(name for names in found for name in names)]


def _told(suspects: list[str]) -> str:
    if not suspects:
        return "it cannot be told which row it comes from"
    more = len(suspects) - _MOST_NAMED
    return "; ".join(suspects[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
