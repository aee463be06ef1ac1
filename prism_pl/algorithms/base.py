"""What an RL algorithm decides: shaping, which groups count, advantages, and the loss of a micro-batch."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from prism_pl.metrics import Means

# Rewards are sums of fp32 weights: equal rewards of a group can differ in the last bit (slime's spurious gradients).
_SIGNAL_TOLERANCE = 1e-5


@dataclass(frozen=True)
class PolicyTerms:
    """One micro-batch of responses. The denominators are those of the whole update, over all ranks and micro-batches."""

    logp_BT: torch.Tensor
    """Log-probabilities under the weights being trained; carries the gradient."""
    old_logp_BT: torch.Tensor
    """Under the weights that sampled the responses."""
    weight_BT: torch.Tensor
    """Importance weights between engine and trainer, 1 where they agree."""
    mask_BT: torch.Tensor
    """True on response tokens."""
    advantage_B: torch.Tensor
    num_tokens: float
    """Response tokens of the update."""
    num_responses: float
    """Responses of the update."""


class Algorithm(ABC):
    """Base of all algorithms; the leaves are frozen dataclasses whose fields are their options."""

    max_resampling: int = 0
    """How many times the rollout callback may draw further prompts to replace groups without signal."""

    def shape(self, reward_PG: torch.Tensor, length_PG: torch.Tensor, max_length: int) -> torch.Tensor:
        """The reward that is optimised; ``length_PG`` in tokens."""
        return reward_PG

    def keeps(self, reward_PG: torch.Tensor) -> torch.Tensor:
        """True for each group (P,) that the update should use."""
        return torch.ones(len(reward_PG), dtype=torch.bool)

    @abstractmethod
    def advantages(self, reward_PG: torch.Tensor) -> torch.Tensor:
        """The advantage (P, G) of each response."""

    @abstractmethod
    def loss(self, terms: PolicyTerms, means: Means) -> torch.Tensor:
        """The micro-batch's share of the loss; adds its metrics to ``means``."""


def has_signal(reward_PG: torch.Tensor) -> torch.Tensor:
    """True for each group (P,) whose rewards differ."""
    return reward_PG.max(dim=1).values - reward_PG.min(dim=1).values > _SIGNAL_TOLERANCE


def normalised_advantages(reward_PG: torch.Tensor) -> torch.Tensor:
    """A_i = (r_i - mean(r)) / std(r) in each group, with the unbiased std; 0 in a group without signal (GRPO, eq. 3)."""
    centred_PG = reward_PG - reward_PG.mean(dim=1, keepdim=True)
    if reward_PG.shape[1] == 1:
        return torch.zeros_like(reward_PG)
    scaled_PG = centred_PG / reward_PG.std(dim=1, keepdim=True).clamp_min(_SIGNAL_TOLERANCE)
    return torch.where(has_signal(reward_PG)[:, None], scaled_PG, torch.zeros_like(scaled_PG))
