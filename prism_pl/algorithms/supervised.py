"""Supervised fine-tuning: cross-entropy on response tokens, averaged over all of an update's tokens.

L = - 1/N sum_t log pi(y_t),   N: response tokens of the update, on all ranks
"""

import torch
from torchmetrics import Metric

from prism_pl.metrics.collection import StepMetrics, means


def supervised_metrics() -> dict[str, Metric]:
    """What ``supervised_loss`` adds to."""
    return means("sft/loss", "sft/entropy")


def supervised_loss(
    likelihood: torch.Tensor,
    logp_BT: torch.Tensor,
    entropy_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    num_tokens: float,
    metrics: StepMetrics,
) -> torch.Tensor:
    """The micro-batch's share of the loss. ``likelihood`` is the sum of ``logp_BT``, and alone has a gradient."""
    metrics.add("sft/loss", -logp_BT[mask_BT])
    metrics.add("sft/entropy", entropy_BT[mask_BT])
    return -likelihood / num_tokens
