"""Dr. GRPO, GRPO done right (arXiv 2503.20783, section 3.2): neither the std nor a response's own length divides.

J = E [ 1/(G L) sum_i sum_t min(rho_it A_i, clip(rho_it, 1 - low, 1 + high) A_i) ],   A_i = r_i - mean,   L the length limit
"""

from dataclasses import dataclass

from prism_pl.algorithms.advantages import AdvantageEstimator, GroupCentred
from prism_pl.algorithms.base import Aggregation
from prism_pl.algorithms.grpo import GRPO


@dataclass(frozen=True, kw_only=True)
class DrGRPO(GRPO):
    """Sums over tokens divided by a constant, advantages centred only."""

    aggregation: Aggregation = "length_limit"
    """Long responses count by their tokens, right or wrong."""

    def own_advantage(self) -> AdvantageEstimator:
        return GroupCentred()
