"""A reward scores a response between 0 and 1; a stage sums several with weights."""

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from prism_pl.errors import UserError
from prism_pl.types import Prompt, PromptBatch


class Reward(ABC):
    """One part of the reward. ``name`` is the key under which it is logged."""

    name: str
    weight: float

    @abstractmethod
    def __call__(self, response: str, answer: str) -> float:
        """The score in [0, 1] of a decoded response, given the true answer.

        Raises UserError if the true answer is not one that this reward can compare with.
        """

    def grade(self, prompts: Sequence[Prompt], responses: Sequence[Sequence[str]]) -> list[list[float]]:
        """The score of each response (P lists of G); an error names the prompt's file and row."""
        scores = []
        for prompt, group in zip(prompts, responses, strict=True):
            try:
                scores.append([self(response, prompt.answer or "") for response in group])
            except UserError as error:
                raise UserError(f"{prompt.source}: {error}") from None
        return scores


def total_reward(rewards: Sequence[Reward], batch: PromptBatch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The weighted sum (P, G) and each part (P, G) by its name."""
    parts = {reward.name: torch.tensor(reward.grade(batch.prompts, batch.texts)) for reward in rewards}
    total_PG = sum((reward.weight * parts[reward.name] for reward in rewards), torch.zeros(()))
    return total_PG, parts


def check_rewards(rewards: Sequence[Reward]) -> None:
    """Raises UserError for no rewards at all, or for two of one name: the second would hide the first."""
    names = [reward.name for reward in rewards]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if not rewards or doubled is not None:
        problem = f"two rewards are called {doubled!r}; give one another `name`" if rewards else "the list is empty"
        raise UserError(f"model.rewards: {problem}.")


def require_math_verify(name: str) -> None:
    """Raises UserError when the run starts, not at the first answer that needs it."""
    if importlib.util.find_spec("math_verify") is None:
        raise UserError(f"{name} needs math-verify, which is not installed: `pip install math-verify==0.9.0`.")
