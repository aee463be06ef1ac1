"""What an algorithm is given: the outcomes of a rollout batch, and the inputs of one micro-batch's loss."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

LARGEST_LOG_RATIO = 20.0
"""Bound on a log-ratio before exp(), which overflows fp32 at 89: verl's, for single tokens and for products of them."""
_SIGNAL_TOLERANCE = 1e-5
"""Rewards are sums of fp32 weights: equal rewards of a group can differ in the last bit (slime's spurious gradients)."""


@dataclass(frozen=True)
class RewardTerm:
    """One of the terms whose sum is the reward: a reward, the overlong punishment, or the divergence."""

    value_PG: torch.Tensor
    """As it stands in the sum: times its weight."""
    weight: float


@dataclass(frozen=True)
class Outcomes:
    """Rewards of this rank's share of a rollout batch, after shaping and a KL term in the reward."""

    reward_PG: torch.Tensor
    length_PG: torch.Tensor
    """Tokens of each response."""
    total: Callable[[torch.Tensor], torch.Tensor]
    """Sums a tensor over all ranks."""
    terms: tuple[RewardTerm, ...] = ()
    """What ``reward_PG`` is the sum of, for an estimator that looks at each."""

    @property
    def signal_P1(self) -> torch.Tensor:
        """True for each group whose rewards differ by more than rounding."""
        return has_signal(self.reward_PG)[:, None]


def has_signal(reward_PG: torch.Tensor) -> torch.Tensor:
    """True for each group (P,) whose rewards differ by more than rounding."""
    return reward_PG.max(dim=1).values - reward_PG.min(dim=1).values > _SIGNAL_TOLERANCE


@dataclass(frozen=True)
class LossInputs:
    """One micro-batch of responses. The denominators are those of the whole update, over all ranks and micro-batches."""

    logp_BT: torch.Tensor
    """Log-probabilities under the weights being trained; carries the gradient."""
    old_logp_BT: torch.Tensor
    """Under the weights at the start of the rollout batch."""
    weight_BT: torch.Tensor
    """Importance weights between engine and trainer, 1 where they agree."""
    mask_BT: torch.Tensor
    """True on response tokens."""
    advantage_BT: torch.Tensor
    """Of each token; (B, 1) where the tokens of a response share one."""
    num_tokens: float
    """Response tokens of the update."""
    num_responses: float
    """Responses of the update."""
    max_length: int
    """The length limit of a response, in tokens."""
    entropy_BT: torch.Tensor | None = None
    """Of the policy's next-token distribution; carries the gradient."""
    reference_logp_BT: torch.Tensor | None = None
    """Under the reference model, if the algorithm uses one."""
    engine_logp_BT: torch.Tensor | None = None
    """Under the engine's weights, when the response was sampled."""

    @property
    def log_ratio_BT(self) -> torch.Tensor:
        """log rho = log pi - log pi_old, token by token; 0 where masked, so that nothing of such a token can overflow."""
        return torch.where(self.mask_BT, self.logp_BT - self.old_logp_BT, 0.0)

    @property
    def ratio_BT(self) -> torch.Tensor:
        """rho = pi / pi_old, token by token, from exp(-20) to exp(20). Outside of it a token has no gradient."""
        return torch.exp(self.log_ratio_BT.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))
