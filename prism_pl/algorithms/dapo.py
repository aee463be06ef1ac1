"""DAPO (arXiv 2503.14476): GRPO's token mean with a wider upper clip, dynamic sampling and soft overlong punishment.

shaping(y) = 0                                   |y| <= L - buffer
           = -(|y| - (L - buffer)) / buffer      otherwise (eq. 13);   groups need 0 < #correct < G (eq. 11)
"""

from dataclasses import dataclass

from prism_pl.algorithms.grpo import GRPO
from prism_pl.ranges import NonNegativeFloat, NonNegativeInt, Share


@dataclass(frozen=True, kw_only=True)
class DAPO(GRPO):
    """The four changes of the paper."""

    clip_high: NonNegativeFloat = 0.28
    """Wider than ``clip_low``, to slow the collapse of entropy."""
    overlong_share: Share = 0.2
    """The paper's 4,096 of 20,480 tokens."""
    max_resampling: NonNegativeInt = 10
    """Then the step goes on with what it has."""
