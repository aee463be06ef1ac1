"""What a rollout engine must do: sample responses from its own copy of the weights, and take new weights."""

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

from prism_pl.seeds import derive_seed
from prism_pl.types import Prompt, Response, Rollouts, SamplingOptions


@dataclass(frozen=True)
class Sampled:
    """What an engine has made of some prompts."""

    groups: list[list[list[Response]]]
    """Of each of the samplings, of each prompt."""
    seconds: float
    """That it took beside the caller's work."""


def stamped(groups: list[list[list[Response]]], version: int) -> list[list[list[Response]]]:
    """The same of weights that have had ``version`` updates."""
    return [[[replace(response, version=version) for response in group] for group in each] for each in groups]


@dataclass(frozen=True)
class Begun:
    """What an engine has begun to sample."""

    collect: Callable[[], Sampled]
    """Waits for the end of it."""
    is_done: Callable[[], bool] = lambda: True
    """Whether ``collect`` would not wait; True where the engine cannot tell."""


class PendingRollouts:
    """Responses that an engine was asked for and may not have made yet."""

    def __init__(self, prompts: Sequence[Prompt], samplings: Sequence[SamplingOptions], begun: Begun) -> None:
        self.prompts = prompts
        self._samplings = samplings
        self._begun = begun
        self.unseen_seconds = 0.0
        """Seconds of sampling that ``result`` has not waited for."""

    @property
    def is_done(self) -> bool:
        """Whether ``result`` would not wait, for an engine with ``updates_in_flight``."""
        return self._begun.is_done()

    def result(self) -> list[Rollouts]:
        """Waits for them; for each of the samplings. Raises RuntimeError for a response that is none."""
        begin = time.perf_counter()
        sampled = self._begun.collect()
        self.unseen_seconds = max(0.0, sampled.seconds - (time.perf_counter() - begin))
        for sampling, responses in zip(self._samplings, sampled.groups, strict=True):
            for prompt, group in zip(self.prompts, responses, strict=True):
                _check_group(prompt, group, sampling.group_size)
        return [
            Rollouts(tuple(self.prompts), tuple(tuple(group) for group in responses), sampling)
            for sampling, responses in zip(self._samplings, sampled.groups, strict=True)
        ]


class RolloutEngine(ABC):
    """Holds a second copy of the policy's weights and samples from it.

    Every response has a random stream of its own, seeded by the caller: what a prompt gets does not depend on what else is
    in the batch, on the number of ranks or on a resume.
    """

    num_devices = 1
    """Devices that it samples on: a call should bring so many times the prompts."""
    beside = False
    """Whether it samples while its caller does something else, so that ``submit`` gains by it."""
    updates_in_flight = False
    """Whether ``take`` can reach responses that are half sampled."""
    version = 0
    """Updates that the weights have had which it samples from."""

    @property
    def precision(self) -> torch.dtype:
        """What the engine computes in, once it is started."""
        return torch.float32

    def check(self) -> None:  # noqa: B027 (most engines need nothing)
        """Raises UserError for what ``start`` cannot do without, before anything is loaded."""

    @abstractmethod
    def start(self, model: str, max_prompt_tokens: int, sampling: SamplingOptions) -> None:
        """Loads the Hugging Face folder ``model``. Called before anything else, and again after ``close``.

        On several ranks all must call it, each on the device that its strategy has chosen.
        """

    @abstractmethod
    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingOptions) -> list[list[Response]]:
        """``sampling.group_size`` responses a prompt, in order. ``seeds`` holds one seed a prompt."""

    def generate_each(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], samplings: Sequence[SamplingOptions]
    ) -> list[list[list[Response]]]:
        """What ``generate`` gives for each of the samplings; together, where an engine gains by it."""
        return [self.generate(prompts, seeds, sampling) for sampling in samplings]

    def answer(self, prompts: Sequence[Prompt], sampling: SamplingOptions, *words: int | str) -> Rollouts:
        """The prompts with responses; a prompt's seed is a function of ``words`` and its source."""
        return self.answer_each(prompts, [sampling], *words)[0]

    def answer_each(
        self, prompts: Sequence[Prompt], samplings: Sequence[SamplingOptions], *words: int | str
    ) -> list[Rollouts]:
        """The same for each of the samplings, asked together. Raises RuntimeError for a response that is none."""
        return self.submit(prompts, samplings, *words).result()

    def submit(self, prompts: Sequence[Prompt], samplings: Sequence[SamplingOptions], *words: int | str) -> PendingRollouts:
        """Asks for the same, with the weights that it has been given so far. An engine that is not ``beside`` its caller
        makes it now."""
        seeds = [derive_seed(*words, prompt.source) for prompt in prompts]
        return PendingRollouts(prompts, samplings, self.begin(prompts, seeds, samplings))

    def begin(self, prompts: Sequence[Prompt], seeds: Sequence[int], samplings: Sequence[SamplingOptions]) -> Begun:
        """Begins to sample."""
        sampled = Sampled(stamped(self.generate_each(prompts, seeds, samplings), self.version), 0.0)
        return Begun(lambda: sampled)

    def take(self, weights: Iterable[tuple[str, torch.Tensor]], version: int, in_flight: bool = False) -> None:
        """``sync`` with weights that have had ``version`` updates: the responses say so from here on.

        What was asked before is sampled with the weights of before. With ``in_flight`` an engine with ``updates_in_flight``
        does not wait for it: the rest of those responses is the new weights', and their version that of the oldest.
        """
        self.sync(weights)
        self.version = version

    @abstractmethod
    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Takes full tensors under transformers' names and forgets everything computed with the old ones."""

    @property
    def sleeps(self) -> bool:
        """Whether ``sleep`` does anything."""
        return False

    def sleep(self) -> None:  # noqa: B027 (most engines hold nothing that is worth it)
        """Gives memory back until the next ``sync``; weights and all that was computed with them are lost."""

    @abstractmethod
    def close(self) -> None:
        """Frees the engine's memory."""


class EngineBeside(RolloutEngine):
    """One that samples while its caller does something else: all that it is asked goes through ``begin`` and ``take``."""

    beside = True

    @abstractmethod
    def begin(self, prompts: Sequence[Prompt], seeds: Sequence[int], samplings: Sequence[SamplingOptions]) -> Begun: ...

    @abstractmethod
    def take(self, weights: Iterable[tuple[str, torch.Tensor]], version: int, in_flight: bool = False) -> None: ...

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingOptions) -> list[list[Response]]:
        return self.generate_each(prompts, seeds, [sampling])[0]

    def generate_each(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], samplings: Sequence[SamplingOptions]
    ) -> list[list[list[Response]]]:
        return self.begin(prompts, seeds, samplings).collect().groups

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        self.take(weights, self.version)


def _check_group(prompt: Prompt, group: Sequence[Response], size: int) -> None:
    """An engine that is about to die, or that has aborted a request, may give less than it was asked for."""
    if len(group) != size:
        raise RuntimeError(f"{prompt.source}: the engine gave {len(group)} responses for {size}.")
    for number, response in enumerate(group, start=1):
        tokens, known = len(response.token_ids), len(response.engine_logp)
        if not tokens or known != tokens:
            raise RuntimeError(
                f"{prompt.source}: response {number} of {size} is none: it has {tokens} tokens and {known} "
                f"log-probabilities."
            )


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Leaves python's, numpy's and torch's random states as they were: engines reseed the process when they start."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
