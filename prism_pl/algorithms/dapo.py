"""DAPO (arXiv 2503.14476): GRPO with a wider upper clip, dynamic sampling and soft overlong punishment.

shaping(y) = 0                                   |y| <= L - buffer
           = -(|y| - (L - buffer)) / buffer      otherwise (eq. 13);   groups need 0 < #correct < G (eq. 11)
"""

from dataclasses import dataclass

import torch

from prism_pl.algorithms.base import has_signal
from prism_pl.algorithms.grpo import GRPO


@dataclass(frozen=True, kw_only=True)
class DAPO(GRPO):
    """GRPO's token mean with the four changes of the paper."""

    clip_high: float = 0.28
    """Wider than ``clip_low``, to slow the collapse of entropy."""
    overlong_share: float = 0.2
    """The buffer before the length limit, as a share of it (the paper's 4,096 of 20,480 tokens)."""
    overlong_penalty: float = 1.0
    """What a response of the full length loses."""
    max_resampling: int = 10
    """Rounds of further prompts for groups whose rewards are all equal; then the step goes on with what it has."""

    def shape(self, reward_PG: torch.Tensor, length_PG: torch.Tensor, max_length: int) -> torch.Tensor:
        buffer = self.overlong_share * max_length
        if buffer == 0:
            return reward_PG
        over_PG = (length_PG - (max_length - buffer)).clamp(0, buffer)
        return reward_PG - self.overlong_penalty * over_PG / buffer

    def keeps(self, reward_PG: torch.Tensor) -> torch.Tensor:
        return has_signal(reward_PG)
