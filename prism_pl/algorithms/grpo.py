"""Group relative policy optimisation (DeepSeekMath, arXiv 2402.03300, eq. 3).

    J = E [ 1/sum|o_i| . sum_i sum_t min(rho_it A_i, clip(rho_it, 1 - low, 1 + high) A_i) ],   A_i = (r_i - mean) / std

As in PRISM's scripts the mean is over all tokens of the update and there is no KL term; the paper's own are
``aggregation: sequence_mean`` and ``kl_weight: 0.04``.
"""

from dataclasses import dataclass

from prism_pl.algorithms.advantages import AdvantageEstimator, GroupNormalised
from prism_pl.algorithms.base import Algorithm
from prism_pl.algorithms.objectives import PolicyObjective, TokenClip
from prism_pl.ranges import AtLeastOne, NonNegativeFloat, Share


@dataclass(frozen=True, kw_only=True)
class GRPO(Algorithm):
    """Clipped token ratios, advantages normalised in the group."""

    clip_low: Share = 0.2
    """The ratio counts down to ``1 - clip_low``."""
    clip_high: NonNegativeFloat = 0.2
    """The ratio counts up to ``1 + clip_high``."""
    dual_clip: AtLeastOne | None = None
    """Bound on the ratio of tokens with a negative advantage; null for none."""

    def own_advantage(self) -> AdvantageEstimator:
        return GroupNormalised()

    def own_objective(self) -> PolicyObjective:
        return TokenClip(clip_low=self.clip_low, clip_high=self.clip_high, dual_clip=self.dual_clip)
