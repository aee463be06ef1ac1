"""Distances between distributions of a response's shape: caption items, reasoning steps, length.

TV(p, q) = 1/2 sum_x |p(x) - q(x)|          0 equal, 1 disjoint
"""

from collections import Counter
from collections.abc import Sequence

from prism_pl.segments import Sections, count_items

_LENGTH_BINS = 20
"""At most so many bins for lengths: single lengths would each be too rare to compare."""


def caption_items(sections: Sequence[Sections]) -> tuple[int, ...]:
    """Of each response."""
    return tuple(count_items(own.caption) for own in sections)


def reasoning_steps(sections: Sequence[Sections]) -> tuple[int, ...]:
    """Of each response."""
    return tuple(count_items(own.think) for own in sections)


def length_width(*lengths: Sequence[int]) -> int:
    """The bin width for lengths in tokens, one for all policies that are compared."""
    return -(-max((max(values) for values in lengths if values), default=1) // _LENGTH_BINS)


def shares(values: Sequence[int], width: int = 1) -> dict[int, float]:
    """The share of each bin of ``width``, by the bin's lower edge."""
    counts = Counter(value // width * width for value in values)
    return {edge: count / len(values) for edge, count in counts.items()}


def total_variation(p: dict[int, float], q: dict[int, float]) -> float:
    """Between two distributions, each a share by value.

    >>> total_variation({1: 0.5, 2: 0.5}, {2: 0.5, 3: 0.5})
    0.5
    """
    return sum(abs(p.get(key, 0.0) - q.get(key, 0.0)) for key in p.keys() | q.keys()) / 2
