"""Group sequence policy optimisation (arXiv 2507.18071, eq. 5-7).

s_i = (pi(y_i) / pi_old(y_i))^(1/|y_i|) = exp(mean_t log rho_it)
J = E [ 1/G sum_i min(s_i A_i, clip(s_i, 1 - low, 1 + high) A_i) ]
"""

from dataclasses import dataclass

import torch

from prism_pl.algorithms.base import Algorithm, PolicyTerms, normalised_advantages
from prism_pl.algorithms.grpo import add_ratio_metrics, clipped_gain
from prism_pl.metrics import Means


@dataclass(frozen=True, kw_only=True)
class GSPO(Algorithm):
    """One length-normalised ratio a response, clipped in a range about a thousand times narrower than GRPO's."""

    clip_low: float = 3e-4
    """The sequence ratio is kept above ``1 - clip_low``."""
    clip_high: float = 4e-4
    """The sequence ratio is kept below ``1 + clip_high``."""

    def advantages(self, reward_PG: torch.Tensor) -> torch.Tensor:
        return normalised_advantages(reward_PG)

    def loss(self, terms: PolicyTerms, means: Means) -> torch.Tensor:
        length_B = terms.mask_BT.sum(-1).clamp_min(1)
        log_ratio_BT = (terms.logp_BT - terms.old_logp_BT) * terms.mask_BT
        ratio_B = torch.exp(log_ratio_BT.sum(-1) / length_B)
        # Engine and trainer differ by token, the objective is by response: its weight is the mean of its tokens'.
        weight_B = (terms.weight_BT * terms.mask_BT).sum(-1) / length_B
        add_ratio_metrics(ratio_B, self.clip_low, self.clip_high, means)
        gain_B = clipped_gain(ratio_B, terms.advantage_B, self.clip_low, self.clip_high)
        loss_B = -gain_B * weight_B
        means.add("policy/loss", loss_B)
        return loss_B.sum() / terms.num_responses
