"""Group relative policy optimisation (DeepSeekMath, arXiv 2402.03300, eq. 3), without its KL term.

    J = E [ 1/sum|o_i| . sum_i sum_t min(rho_it A_i, clip(rho_it, 1 - low, 1 + high) A_i) ],   rho = pi / pi_old

The mean is over all tokens of the update, as in PRISM's scripts, not per response first as in the paper.
"""

from dataclasses import dataclass

import torch

from prism_pl.algorithms.base import Algorithm, PolicyTerms, normalised_advantages
from prism_pl.metrics import Means


@dataclass(frozen=True, kw_only=True)
class GRPO(Algorithm):
    """Clipped token ratios, advantages normalised in the group."""

    clip_low: float = 0.2
    """The ratio is kept above ``1 - clip_low``."""
    clip_high: float = 0.2
    """The ratio is kept below ``1 + clip_high``."""

    def advantages(self, reward_PG: torch.Tensor) -> torch.Tensor:
        return normalised_advantages(reward_PG)

    def loss(self, terms: PolicyTerms, means: Means) -> torch.Tensor:
        ratio_BT = torch.exp(terms.logp_BT - terms.old_logp_BT)
        gain_BT = clipped_gain(ratio_BT, terms.advantage_B[:, None], self.clip_low, self.clip_high)
        add_ratio_metrics(ratio_BT[terms.mask_BT], self.clip_low, self.clip_high, means)
        loss_BT = -gain_BT * terms.weight_BT
        means.add("policy/loss", loss_BT[terms.mask_BT])
        return (loss_BT * terms.mask_BT).sum() / terms.num_tokens


def clipped_gain(ratio: torch.Tensor, advantage: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """min(rho A, clip(rho, 1 - low, 1 + high) A), element by element."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def add_ratio_metrics(ratio_N: torch.Tensor, low: float, high: float, means: Means) -> None:
    """The mean ratio and the share of ratios beyond either side of the clip range."""
    ratio_N = ratio_N.detach()
    means.add("policy/ratio", ratio_N)
    means.add("policy/clipped_low", (ratio_N < 1 - low).float())
    means.add("policy/clipped_high", (ratio_N > 1 + high).float())
