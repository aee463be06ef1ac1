"""The rollout engine does not compute exactly the trainer's probabilities: weights that correct for it, and by how much.

w_t = pi_trainer(y_t) / pi_engine(y_t), no gradient;     sequence level: prod_t w_t for all tokens of a response
truncate: min(w, cap) (fengyao.notion.site/off-policy-rl);     mask: w where low <= w <= cap, else 0 (IcePop)
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torchmetrics import Metric

from prism_pl.algorithms.divergence import divergence
from prism_pl.algorithms.inputs import LARGEST_LOG_RATIO
from prism_pl.errors import UserError
from prism_pl.ranges import NonNegativeFloat, PositiveFloat


@dataclass(frozen=True, kw_only=True)
class MismatchOptions:
    """Correction for the difference between the engine's and the trainer's probabilities."""

    level: Literal["token", "sequence"] = "token"
    """Weights of single tokens, or the product over a response for all of its tokens."""
    action: Literal["truncate", "mask", "off"] = "truncate"
    """``truncate`` weights at ``cap``; ``mask`` takes out those outside of ``low`` to ``cap``; ``off`` has none."""
    cap: PositiveFloat = 2.0
    """Largest weight (TRL's default)."""
    low: NonNegativeFloat = 0.5
    """Smallest weight that ``mask`` keeps."""

    def __post_init__(self) -> None:
        if self.action == "mask" and self.low > self.cap:
            raise UserError(
                f"model.mismatch.low is {self.low}, more than model.mismatch.cap, {self.cap}: no weight is kept."
            )


def importance_weights(gap_BT: torch.Tensor, mask_BT: torch.Tensor, options: MismatchOptions) -> torch.Tensor:
    """Weights (B, T), 1 where masked; ``gap_BT`` is log p (trainer) - log p (engine).

    No weight, or product of weights, is larger than exp(20), whatever the cap.
    """
    gap_BT = torch.where(mask_BT, gap_BT.detach(), 0.0)
    if options.action == "off":
        return torch.ones_like(gap_BT)
    if options.level == "sequence":
        gap_BT = gap_BT.sum(-1, keepdim=True) * mask_BT
    weight_BT = gap_BT.clamp_max(LARGEST_LOG_RATIO).exp()
    if options.action == "truncate":
        return weight_BT.clamp_max(options.cap)
    return weight_BT * ((weight_BT >= options.low) & (weight_BT <= options.cap))


class EngineMismatch(Metric):
    """How far engine and trainer are apart, over the tokens of all ranks.

    Mean and largest |delta p|, mean |delta log p|, KL(engine || trainer) by k3, the effective sample size
    (sum w)^2 / (N sum w^2), and the share of tokens that the cap touched or the mask took out.
    """

    sums: torch.Tensor
    largest: torch.Tensor

    def __init__(self, options: MismatchOptions, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.options = options
        self.add_state("sums", torch.zeros(7), "sum")
        self.add_state("largest", torch.tensor(0.0), "max")

    def update(self, trainer_logp_N: torch.Tensor, engine_logp_N: torch.Tensor, weight_N: torch.Tensor) -> None:
        """Log-probabilities of N tokens on both sides, and their importance weights."""
        gap_N = trainer_logp_N - engine_logp_N
        delta_N = (trainer_logp_N.exp() - engine_logp_N.exp()).abs()
        out_N = weight_N == 0 if self.options.action == "mask" else weight_N >= self.options.cap
        kl_N = divergence(engine_logp_N, trainer_logp_N, "k3")
        parts = [torch.ones_like(gap_N), gap_N.abs(), delta_N, kl_N, weight_N, weight_N**2, out_N]
        self.sums += torch.stack([part.double().sum() for part in parts])
        self.largest = torch.maximum(self.largest, delta_N.max().to(self.largest))

    def compute(self) -> dict[str, torch.Tensor]:
        count, gap, delta, kl, weight, square, out = self.sums
        values = {
            "logp_gap_mean": gap / count,
            "delta_p_mean": delta / count,
            "delta_p_max": self.largest,
            "kl": kl / count,
        }
        if self.options.action != "off":
            # All weights are 0 where the mask took everything out.
            values["effective_sample_size"] = weight**2 / (count * square) if square else square
            values["masked" if self.options.action == "mask" else "capped"] = out / count
        return values
