"""Policy objectives: the loss of each token, before importance weights and aggregation.

rho_it = pi(y_it) / pi_old(y_it) is 1 in an on-policy step; then every objective has the gradient of -A log pi, up to
lengths.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torchmetrics import Metric

from prism_pl.algorithms.inputs import LARGEST_LOG_RATIO, LossInputs
from prism_pl.metrics.collection import StepMetrics, means
from prism_pl.ranges import AtLeastOne, NonNegativeFloat, PositiveFloat, Share

_LARGEST_LOG_OF_MEAN = 10.0
"""Of a length-normalised sequence ratio, as in verl."""


class PolicyObjective(ABC):
    """Base of all objectives; the leaves are frozen dataclasses."""

    def metrics(self) -> dict[str, Metric]:
        """What a call adds to; here, what ``add_clip_metrics`` does."""
        return means("policy/ratio", "policy/clipped_low", "policy/clipped_high")

    @abstractmethod
    def __call__(self, inputs: LossInputs, metrics: StepMetrics) -> torch.Tensor:
        """The loss (B, T) of each token; what stands where ``mask_BT`` is False is not read. Adds ratios to ``metrics``."""


@dataclass(frozen=True, kw_only=True)
class TokenClip(PolicyObjective):
    """-min(rho A, clip(rho, 1 - low, 1 + high) A) for each token (PPO, arXiv 1707.06347, eq. 7).

    With ``dual_clip`` c the gain of a token with A < 0 is at least c A (arXiv 1912.09729, eq. 5).
    """

    clip_low: Share = 0.2
    """The ratio counts down to ``1 - clip_low``."""
    clip_high: NonNegativeFloat = 0.2
    """The ratio counts up to ``1 + clip_high``."""
    dual_clip: AtLeastOne | None = None
    """Bound on rho of tokens with a negative advantage; null for none."""

    def __call__(self, inputs: LossInputs, metrics: StepMetrics) -> torch.Tensor:
        advantage_BT = inputs.advantage_BT
        gain_BT = clipped_gain(inputs.ratio_BT, advantage_BT, self.clip_low, self.clip_high)
        if self.dual_clip is not None:
            gain_BT = torch.where(advantage_BT < 0, torch.maximum(gain_BT, self.dual_clip * advantage_BT), gain_BT)
        add_clip_metrics(inputs, inputs.ratio_BT, self.clip_low, self.clip_high, metrics)
        return -gain_BT


@dataclass(frozen=True, kw_only=True)
class SequenceClip(PolicyObjective):
    """-min(s A, clip(s, 1 - low, 1 + high) A) with one ratio a response, the same for each of its tokens.

    s_i = exp(mean_t log rho_it) (GSPO, arXiv 2507.18071, eq. 7), or exp(sum_t log rho_it), the ratio of whole responses.
    The exponent is at most 10 (as in verl), or 20 for the sum; a response beyond has no gradient.
    """

    clip_low: Share = 3e-4
    """The sequence ratio counts down to ``1 - clip_low``."""
    clip_high: NonNegativeFloat = 4e-4
    """The sequence ratio counts up to ``1 + clip_high``."""
    length_normalised: bool = True
    """The mean over tokens in the exponent, not the sum."""

    def __call__(self, inputs: LossInputs, metrics: StepMetrics) -> torch.Tensor:
        log_ratio_B, largest = inputs.log_ratio_BT.sum(-1), LARGEST_LOG_RATIO
        if self.length_normalised:
            log_ratio_B, largest = log_ratio_B / inputs.mask_BT.sum(-1).clamp_min(1), _LARGEST_LOG_OF_MEAN
        ratio_BT = torch.exp(log_ratio_B.clamp_max(largest))[:, None].expand_as(inputs.logp_BT)
        add_clip_metrics(inputs, ratio_BT, self.clip_low, self.clip_high, metrics)
        return -clipped_gain(ratio_BT, inputs.advantage_BT, self.clip_low, self.clip_high)


@dataclass(frozen=True, kw_only=True)
class CappedWeight(PolicyObjective):
    """-sg[min(rho, cap)] A log pi: a token beyond the cap keeps its gradient (CISPO, arXiv 2506.13585, eq. 4)."""

    ratio_cap: AtLeastOne = 5.0
    """Largest weight of a token."""

    def __call__(self, inputs: LossInputs, metrics: StepMetrics) -> torch.Tensor:
        ratio_BT = inputs.ratio_BT.detach()
        add_clip_metrics(inputs, ratio_BT, 1.0, self.ratio_cap - 1, metrics)
        return -ratio_BT.clamp_max(self.ratio_cap) * inputs.advantage_BT * inputs.logp_BT


@dataclass(frozen=True, kw_only=True)
class SoftGate(PolicyObjective):
    """-f(rho) A with f(rho) = 4 / tau sigma(tau (rho - 1)): a gate that closes smoothly (SAPO, arXiv 2511.20347, eq. 6).

    f'(1) = 1, as for the plain ratio; f'(rho) = 4 p (1 - p) with p = sigma(tau (rho - 1)) falls on both sides.
    """

    temperature_positive: PositiveFloat = 1.0
    """tau where A > 0."""
    temperature_negative: PositiveFloat = 1.05
    """tau elsewhere; larger, because negative advantages raise many unsampled tokens."""

    def metrics(self) -> dict[str, Metric]:
        return means("policy/ratio", "policy/gate_slope")

    def __call__(self, inputs: LossInputs, metrics: StepMetrics) -> torch.Tensor:
        advantage_BT = inputs.advantage_BT
        positive, negative = advantage_BT.new_tensor([self.temperature_positive, self.temperature_negative])
        tau_BT = torch.where(advantage_BT > 0, positive, negative)
        open_BT = torch.sigmoid(tau_BT * (inputs.ratio_BT - 1))
        metrics.add("policy/ratio", inputs.ratio_BT[inputs.mask_BT])
        metrics.add("policy/gate_slope", (4 * open_BT * (1 - open_BT))[inputs.mask_BT])
        return -4 / tau_BT * open_BT * advantage_BT


def clipped_gain(ratio: torch.Tensor, advantage: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """min(rho A, clip(rho, 1 - low, 1 + high) A), element by element."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def add_clip_metrics(inputs: LossInputs, ratio_BT: torch.Tensor, low: float, high: float, metrics: StepMetrics) -> None:
    """The mean ratio, and the share of tokens that each side of the clip takes out of the gradient."""
    advantage_BT = inputs.advantage_BT.expand_as(ratio_BT)
    ratio_N, advantage_N = ratio_BT.detach()[inputs.mask_BT], advantage_BT[inputs.mask_BT]
    metrics.add("policy/ratio", ratio_N)
    metrics.add("policy/clipped_low", ((ratio_N < 1 - low) & (advantage_N < 0)).float())
    metrics.add("policy/clipped_high", ((ratio_N > 1 + high) & (advantage_N > 0)).float())
