"""Estimates of KL(pi || pi_ref) from sampled tokens (joschu.net/blog/kl-approx.html).

d = log pi - log pi_ref:    k1 = d      k2 = d^2 / 2      k3 = exp(-d) - 1 + d
"""

from typing import Literal

import torch

from prism_pl.algorithms.inputs import LARGEST_LOG_RATIO

Estimator = Literal["k1", "k2", "k3"]


def divergence(logp: torch.Tensor, reference_logp: torch.Tensor, estimator: Estimator) -> torch.Tensor:
    """Element by element. k1 is unbiased, k3 unbiased and never negative, k2 biased with the right gradient.

    k3 takes d to be at least -20, where exp(-d) would overflow; a large d does not, and keeps its gradient.
    """
    difference = logp - reference_logp
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference.square() / 2
    difference = difference.clamp_min(-LARGEST_LOG_RATIO)
    return torch.exp(-difference) - 1 + difference
