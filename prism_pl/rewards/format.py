"""1 for a response in the strict format, else 0."""

from collections.abc import Sequence
from dataclasses import dataclass

from prism_pl.rewards.base import Reward
from prism_pl.segments import parse_response


@dataclass(frozen=True, kw_only=True)
class FormatReward(Reward):
    """Three sections once, in order, not empty, nothing outside (``prism_pl.segments``)."""

    weight: float = 0.2
    """Share of the total reward (arXiv 2604.28123, eq. 5)."""
    name: str = "format"
    """Key in the logs."""

    def __call__(self, response: str, answer: str, options: Sequence[str] = (), question: str = "") -> float:
        return float(parse_response(response) is not None)
