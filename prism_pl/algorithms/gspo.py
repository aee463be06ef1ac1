"""Group sequence policy optimisation (arXiv 2507.18071, eq. 5-7).

s_i = (pi(y_i) / pi_old(y_i))^(1/|y_i|) = exp(mean_t log rho_it)
J = E [ 1/G sum_i min(s_i A_i, clip(s_i, 1 - low, 1 + high) A_i) ],   A_i = (r_i - mean) / std
"""

from dataclasses import dataclass

from prism_pl.algorithms.advantages import AdvantageEstimator, GroupNormalised
from prism_pl.algorithms.base import Aggregation, Algorithm
from prism_pl.algorithms.objectives import PolicyObjective, SequenceClip
from prism_pl.ranges import NonNegativeFloat, Share


@dataclass(frozen=True, kw_only=True)
class GSPO(Algorithm):
    """One length-normalised ratio a response, clipped in a range about a thousand times narrower than GRPO's."""

    aggregation: Aggregation = "sequence_mean"
    """Every response counts the same."""
    clip_low: Share = 3e-4
    """The sequence ratio counts down to ``1 - clip_low``."""
    clip_high: NonNegativeFloat = 4e-4
    """The sequence ratio counts up to ``1 + clip_high``."""

    def own_advantage(self) -> AdvantageEstimator:
        return GroupNormalised()

    def own_objective(self) -> PolicyObjective:
        return SequenceClip(clip_low=self.clip_low, clip_high=self.clip_high)
