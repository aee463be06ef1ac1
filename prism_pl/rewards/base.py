"""A reward scores a response between 0 and 1; a stage sums several with weights."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from prism_pl.types import PromptBatch


class Reward(ABC):
    """One part of the reward. ``name`` is the key under which it is logged."""

    name: str
    weight: float

    @abstractmethod
    def __call__(self, response: str, answer: str) -> float:
        """The score in [0, 1] of a decoded response, given the true answer."""


def total_reward(rewards: Sequence[Reward], batch: PromptBatch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The weighted sum (P, G) and each part (P, G) by its name."""
    parts = {
        reward.name: torch.tensor(
            [
                [reward(response.text, prompt.answer or "") for response in group]
                for prompt, group in zip(batch.prompts, batch.responses, strict=True)
            ]
        )
        for reward in rewards
    }
    total_PG = sum((reward.weight * parts[reward.name] for reward in rewards), torch.zeros(()))
    return total_PG, parts
