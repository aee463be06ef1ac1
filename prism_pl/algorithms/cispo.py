"""Clipped importance-sampling policy optimisation (MiniMax-M1, arXiv 2506.13585, eq. 4).

J = E [ 1/sum|o_i| . sum_i sum_t sg[min(rho_it, cap)] A_i log pi(y_it) ],   A_i = (r_i - mean) / std

The paper bounds the weight from above alone and leaves the bound open; 5 is ScaleRL's (arXiv 2510.13786).
"""

from dataclasses import dataclass

from prism_pl.algorithms.advantages import AdvantageEstimator, GroupNormalised
from prism_pl.algorithms.base import Algorithm
from prism_pl.algorithms.objectives import CappedWeight, PolicyObjective
from prism_pl.ranges import AtLeastOne


@dataclass(frozen=True, kw_only=True)
class CISPO(Algorithm):
    """Weights are capped, gradients are never cut off: rare tokens of a good response keep theirs."""

    ratio_cap: AtLeastOne = 5.0
    """Largest weight of a token."""

    def own_advantage(self) -> AdvantageEstimator:
        return GroupNormalised()

    def own_objective(self) -> PolicyObjective:
        return CappedWeight(ratio_cap=self.ratio_cap)
