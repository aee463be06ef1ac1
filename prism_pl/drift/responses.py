"""What is counted in a response, and which distances are taken of it: the cheap part of drift, without a network.

caption items, reasoning steps    of well-formed responses (a malformed one adds nothing)
length                            in tokens, of all
words, bigrams                    of all, tags left out: \\w+ or a single other sign, in lower case

Words and bigrams are counted in ``BUCKETS`` buckets by their CRC-32, so that ranks that have never met the same word add
up. Two words in one bucket can only lower a distance (data processing inequality): with 5,000 different words about one in
14 shares its bucket.
"""

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from prism_pl.drift.distributions import (
    LENGTH_BINS,
    CountDistance,
    JensenShannon,
    KullbackLeibler,
    TotalVariation,
    Wasserstein,
)
from prism_pl.segments import Sections, count_items, parse_response

BUCKETS = 2**16
_WORD = re.compile(r"\w+|[^\w\s]")
_TAG = re.compile(r"</?(?:caption|think|answer)>")


@dataclass(frozen=True)
class Counted:
    """A distance and what of a response it is taken of."""

    feature: str
    """A key of ``counted``."""
    kind: type[CountDistance]
    options: Mapping[str, Any]

    def metric(self, **options: Any) -> CountDistance:
        """A fresh one."""
        return self.kind(**self.options, **options)


def _of_number(feature: str, **bins: int) -> dict[str, Counted]:
    return {
        f"tv_{feature}": Counted(feature, TotalVariation, bins),
        f"w1_{feature}": Counted(feature, Wasserstein, {}),
        f"kl_{feature}": Counted(feature, KullbackLeibler, bins),
    }


COUNT_DISTANCES: Mapping[str, Counted] = {
    **_of_number("caption_items"),
    **_of_number("reasoning_steps"),
    **_of_number("length", num_bins=LENGTH_BINS),
    "tv_words": Counted("words", TotalVariation, {"size": BUCKETS}),
    "js_bigrams": Counted("bigrams", JensenShannon, {"size": BUCKETS}),
}
"""By the names under which they are logged and written."""


def counted(text: str, tokens: int) -> dict[str, torch.Tensor]:
    """Every feature of one response, each (N,): one number, as many as it has words, or none."""
    sections = parse_response(text)
    said = words(text)
    whole = {
        "caption_items": caption_items([sections] if sections else []),
        "reasoning_steps": reasoning_steps([sections] if sections else []),
        "length": (tokens,),
        "words": buckets(said, 1),
        "bigrams": buckets(said, 2),
    }
    return {name: torch.tensor(values, dtype=torch.long) for name, values in whole.items()}


def together(responses: Iterable[Mapping[str, torch.Tensor]], feature: str) -> torch.Tensor:
    """The feature's values in several responses, (N,)."""
    return torch.cat([torch.zeros(0, dtype=torch.long), *(one[feature] for one in responses)])


def caption_items(sections: Sequence[Sections]) -> tuple[int, ...]:
    """Of each response."""
    return tuple(count_items(own.caption) for own in sections)


def reasoning_steps(sections: Sequence[Sections]) -> tuple[int, ...]:
    """Of each response."""
    return tuple(count_items(own.think) for own in sections)


def words(text: str) -> list[str]:
    """In lower case, without the tags of the sections.

    >>> words("<think>Two 3s.</think>")
    ['two', '3s', '.']
    """
    return _WORD.findall(_TAG.sub(" ", text).lower())


def buckets(said: Sequence[str], n: int) -> list[int]:
    """The bucket of each run of ``n`` words."""
    runs = zip(*(said[start:] for start in range(n)), strict=False)
    return [zlib.crc32(" ".join(run).encode()) % BUCKETS for run in runs]
