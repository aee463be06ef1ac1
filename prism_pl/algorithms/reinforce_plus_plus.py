"""REINFORCE++ (arXiv 2501.03262): PPO's clip without a critic, advantages whitened over the whole batch.

A = (R - mean) / std over all tokens of the batch,   R = r - kl_weight sum_t log(pi / pi_ref)
J = E [ 1/sum|o_i| . sum_i sum_t min(rho_it A_i, clip(rho_it, 1 - low, 1 + high) A_i) ]

The paper takes the divergence off token by token, so that a token's return holds what comes after it; here all of a
response's tokens share its sum. No divergence by default (``kl_weight: 0``).
"""

from dataclasses import dataclass

from prism_pl.algorithms.advantages import AdvantageEstimator, BatchWhitened
from prism_pl.algorithms.grpo import GRPO


@dataclass(frozen=True, kw_only=True)
class ReinforcePlusPlus(GRPO):
    """One scale for all prompts: an easy one does not get larger advantages than a hard one."""

    def own_advantage(self) -> AdvantageEstimator:
        return BatchWhitened()
