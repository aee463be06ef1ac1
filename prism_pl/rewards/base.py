"""A reward scores a response between 0 and 1; a stage sums several with weights."""

import hashlib
import importlib.util
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, TypeVar

import torch

from prism_pl.errors import UserError
from prism_pl.types import Prompt, Rollouts

Item = TypeVar("Item")

_GROUPS_KEPT = 4096


class Reward(ABC):
    """One part of the reward. ``name`` is the key under which it is logged."""

    name: str
    weight: float
    counters: ClassVar[tuple[str, ...]] = ()
    """What the reward counts beside its scores, logged as ``reward/<name>/<counter>``."""

    @abstractmethod
    def __call__(self, response: str, answer: str, options: Sequence[str] = (), question: str = "") -> float:
        """The score in [0, 1] of a decoded response, given the true answer, the options of a multiple-choice question, and
        the question's text, which few rewards look at.

        Raises UserError if the true answer is not one that this reward can compare with.
        """

    def grade(self, prompts: Sequence[Prompt], responses: Sequence[Sequence[str]]) -> list[list[float]]:
        """The score of each response (P lists of G) by the true answer that it fits best.

        An error names the prompt's file and row.
        """
        scores = []
        for prompt, group in zip(prompts, responses, strict=True):
            try:
                scores.append(
                    [
                        max(self(response, answer, prompt.options, prompt.question) for answer in prompt.answers)
                        for response in group
                    ]
                )
            except UserError as error:
                raise UserError(f"{prompt.source}: {error}") from None
        return scores

    def take_counts(self) -> dict[str, int]:
        """Each of ``counters`` since the last call."""
        return {}


def grade_together(
    prompts: Sequence[Prompt],
    responses: Sequence[Sequence[str]],
    item: Callable[[str, str, Prompt], Item],
    score: Callable[[list[Item]], list[float]],
) -> list[list[float]]:
    """The whole batch in one call of ``score``: an item for each response and true answer, of which the best counts."""
    items = [
        item(response, answer, prompt)
        for prompt, group in zip(prompts, responses, strict=True)
        for response in group
        for answer in prompt.answers
    ]
    scores = iter(score(items))
    return [
        [max(islice(scores, len(prompt.answers))) for _ in group] for prompt, group in zip(prompts, responses, strict=True)
    ]


@dataclass(frozen=True)
class Graded:
    """The rewards of a rollout batch."""

    total_PG: torch.Tensor
    """The weighted sum."""
    parts: dict[str, torch.Tensor]
    """Each reward (P, G) by its name."""


class Grader:
    """The weighted sum of several rewards. A group is graded once, however often it is asked for: dynamic sampling asks
    which groups are usable before the step asks for their rewards, and a surplus group waits for a later step.

    Raises UserError for no rewards at all, or for two of one name: the second would hide the first.
    """

    def __init__(self, rewards: Sequence[Reward]) -> None:
        check_rewards(rewards)
        self.rewards = list(rewards)
        self._known: OrderedDict[str, list[list[float]]] = OrderedDict()

    def __call__(self, rollouts: Rollouts) -> Graded:
        keys = [_key(prompt, texts) for prompt, texts in zip(rollouts.prompts, rollouts.texts, strict=True)]
        new = {key: p for p, key in enumerate(keys) if key not in self._known}
        if new:
            prompts, texts = [rollouts.prompts[p] for p in new.values()], [rollouts.texts[p] for p in new.values()]
            scores = [reward.grade(prompts, texts) for reward in self.rewards]
            self._known.update({key: list(group) for key, group in zip(new, zip(*scores, strict=True), strict=True)})
        kept = [self._known[key] for key in keys]
        while len(self._known) > _GROUPS_KEPT:
            self._known.popitem(last=False)
        parts = {reward.name: torch.tensor([group[r] for group in kept]) for r, reward in enumerate(self.rewards)}
        return Graded(sum((reward.weight * parts[reward.name] for reward in self.rewards), torch.zeros(())), parts)


def _key(prompt: Prompt, texts: Sequence[str]) -> str:
    return hashlib.blake2b(repr((prompt.source, prompt.answers, texts)).encode(), digest_size=16).hexdigest()


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
