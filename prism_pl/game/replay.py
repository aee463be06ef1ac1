"""Replay: what the policy used to say, so that the discriminator does not forget it (arXiv 2609.30864).

A bounded buffer of prompts with some of their past responses. An update of the discriminator also sees a few of them, each
paired with its own prompt's teacher; the policy's advantages stay on fresh responses alone.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from prism_pl.ranges import NonNegativeInt, PositiveInt
from prism_pl.seeds import derive_seed


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """The buffer of past responses."""

    prompts_per_update: NonNegativeInt = 0
    """Past prompts in every update of the discriminator, over all devices together; 0 turns replay off."""
    responses_per_prompt: PositiveInt = 4
    """Past responses kept of each."""
    capacity: PositiveInt = 512
    """Prompts kept; the oldest goes first."""


class ReplayBuffer:
    """Entries are plain text under the prompt's source ``file:row``, so that a checkpoint can hold them."""

    def __init__(self, options: ReplayOptions) -> None:
        self.options = options
        self.entries: dict[str, list[str]] = {}

    def add(self, sources: Sequence[str], responses: Sequence[Sequence[str]], *seed: int | str) -> None:
        """Keeps some of each prompt's responses; a prompt that was here is replaced and becomes the newest.

        A prompt without a response changes nothing.
        """
        if not self.options.prompts_per_update:
            return
        for source, texts in zip(sources, responses, strict=True):
            if not texts:
                continue
            rng = random.Random(derive_seed(*seed, source))
            kept = rng.sample(list(texts), min(self.options.responses_per_prompt, len(texts)))
            self.entries.pop(source, None)
            self.entries[source] = kept
        while len(self.entries) > self.options.capacity:
            del self.entries[next(iter(self.entries))]

    def draw(self, count: int, exclude: Sequence[str], *seed: int | str) -> dict[str, list[str]]:
        """At most ``count`` random entries whose prompts are not in ``exclude``."""
        known = [source for source in self.entries if source not in set(exclude)]
        chosen = random.Random(derive_seed(*seed)).sample(known, min(count, len(known)))
        return {source: self.entries[source] for source in chosen}
