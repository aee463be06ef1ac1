"""1 for a well-formed response whose number is close enough to the true one, else 0.

|x - y| <= max(absolute, relative |y|),   after units are converted; ChartQA's relaxed accuracy is relative = 0.05
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from prism_pl.errors import UserError, shown
from prism_pl.ranges import NonNegativeFloat
from prism_pl.rewards.base import Reward
from prism_pl.segments import parse_response
from prism_pl.verification import Quantity, parse_quantity
from prism_pl.verification.text import canonical


@dataclass(frozen=True, kw_only=True)
class NumericReward(Reward):
    """Numbers with units and percentages, within a tolerance."""

    weight: float = 0.8
    """Share of the total reward."""
    name: str = "accuracy"
    """Key in the logs."""
    relative: NonNegativeFloat = 0.0
    """Tolerance as a share of the true value."""
    absolute: NonNegativeFloat = 1e-6
    """Tolerance in the true answer's unit."""
    percent: Literal["value", "unit"] = "value"
    """``value``: 50% is 0.5. ``unit``: 50% is 50, for data whose answers leave the sign out."""

    def __call__(self, response: str, answer: str, options: Sequence[str] = (), question: str = "") -> float:
        true = parse_quantity(canonical(answer))
        if true is None:
            raise UserError(f"NumericReward: the answer {shown(answer)} is no number. Use AnswerReward for such data.")
        sections = parse_response(response)
        said = parse_quantity(canonical(sections.answer)) if sections else None
        return float(said is not None and self._close(said, true))

    def _close(self, said: Quantity, true: Quantity) -> bool:
        plain = not said.dimensions or not true.dimensions
        if not plain and said.dimensions != true.dimensions:
            return False
        as_written = plain and (self.percent == "unit" or said.dimensions != true.dimensions)
        x, y = (said.plain, true.plain) if as_written else (said.value, true.value)
        if x is None or y is None:
            return False
        # In base units the absolute tolerance is that of the true answer's unit.
        scale = abs(true.value / true.plain) if true.plain and not as_written else Fraction(1)
        return abs(x - y) <= max(Fraction(self.absolute) * scale, Fraction(self.relative) * abs(y))
