"""Soft adaptive policy optimisation (arXiv 2511.20347, eq. 5 and 6).

J = E [ 1/G sum_i 1/|o_i| sum_t f(rho_it) A_i ],   f(rho) = 4 / tau sigma(tau (rho - 1)),   A_i = (r_i - mean) / std
"""

from dataclasses import dataclass

from prism_pl.algorithms.advantages import AdvantageEstimator, GroupNormalised
from prism_pl.algorithms.base import Aggregation, Algorithm
from prism_pl.algorithms.objectives import PolicyObjective, SoftGate
from prism_pl.ranges import PositiveFloat


@dataclass(frozen=True, kw_only=True)
class SAPO(Algorithm):
    """A smooth gate in the place of a clip."""

    aggregation: Aggregation = "sequence_mean"
    """Every response counts the same."""
    temperature_positive: PositiveFloat = 1.0
    """tau where A > 0."""
    temperature_negative: PositiveFloat = 1.05
    """tau elsewhere; larger, because negative advantages raise many unsampled tokens."""

    def own_advantage(self) -> AdvantageEstimator:
        return GroupNormalised()

    def own_objective(self) -> PolicyObjective:
        return SoftGate(temperature_positive=self.temperature_positive, temperature_negative=self.temperature_negative)
