"""Distances between distributions of a response's shape: caption items, reasoning steps, length.

TV(p, q) = 1/2 sum_x |p(x) - q(x)|          0 equal, 1 disjoint
"""

from collections import Counter
from collections.abc import Sequence


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
