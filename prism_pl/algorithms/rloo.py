"""REINFORCE leave-one-out (arXiv 2402.14740, eq. 8), the response as one action.

A_i = R_i - mean_{j != i} R_j,   R = r - kl_weight log(pi / pi_ref)
J = E [ 1/G sum_i min(s_i A_i, clip(s_i, 1 - low, 1 + high) A_i) ],   s_i = pi(y_i) / pi_old(y_i)

On-policy s is 1 and the gradient is the paper's A_i grad log pi(y_i); the clip is TRL's, for several updates a batch.
"""

from dataclasses import dataclass
from typing import Literal

from prism_pl.algorithms.advantages import AdvantageEstimator, LeaveOneOut
from prism_pl.algorithms.base import Aggregation, Algorithm
from prism_pl.algorithms.divergence import Estimator
from prism_pl.algorithms.objectives import PolicyObjective, SequenceClip
from prism_pl.ranges import NonNegativeFloat, Share


@dataclass(frozen=True, kw_only=True)
class RLOO(Algorithm):
    """Whole responses as actions, each compared with the others of its group; the divergence is part of the reward."""

    aggregation: Aggregation = "sequence_mean"
    """Every response counts the same."""
    kl_weight: NonNegativeFloat = 0.03
    """The paper's beta."""
    kl_estimator: Estimator = "k1"
    """The paper's log-ratio."""
    kl_in: Literal["loss", "reward"] = "reward"
    """As in the paper."""
    clip_low: Share = 0.2
    """The ratio of the responses counts down to ``1 - clip_low``."""
    clip_high: NonNegativeFloat = 0.2
    """The ratio of the responses counts up to ``1 + clip_high``."""

    def own_advantage(self) -> AdvantageEstimator:
        return LeaveOneOut()

    def own_objective(self) -> PolicyObjective:
        return SequenceClip(clip_low=self.clip_low, clip_high=self.clip_high, length_normalised=False)
