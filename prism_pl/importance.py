"""Truncated importance sampling between the rollout engine and the trainer (fengyao.notion.site/off-policy-rl).

w_t = min(pi_trainer_old(y_t) / pi_engine(y_t), C),   no gradient
"""

import torch

from prism_pl.metrics import Means


def importance_weights(
    old_logp_BT: torch.Tensor, engine_logp_BT: torch.Tensor, mask_BT: torch.Tensor, cap: float | None, means: Means
) -> torch.Tensor:
    """Token weights (B, T), 1 where masked, and everywhere without a cap. Logs the gap in log-probability and the share of
    capped tokens."""
    gap_BT = (old_logp_BT - engine_logp_BT).detach()
    gap_N = gap_BT[mask_BT]
    means.add("rollout/logp_gap_mean", gap_N.abs())
    if cap is None:
        return torch.ones_like(gap_BT)
    means.add("rollout/capped", (gap_N.exp() > cap).float())
    return torch.where(mask_BT, gap_BT.exp().clamp_max(cap), torch.ones_like(gap_BT))
