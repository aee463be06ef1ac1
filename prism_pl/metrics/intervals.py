"""95% intervals of shares and means, and pass@k."""

import math
from collections.abc import Sequence

Z95 = 1.959964
"""Quantile of the normal distribution for 95% intervals."""


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's interval of a share: unlike the normal one it stays within 0 and 1 and is not empty at either end.

    >>> low, high = wilson(5, 10)
    >>> f"{low:.3f} {high:.3f}"
    '0.237 0.763'
    """
    value, square = hits / count, Z95**2 / count
    centre = (value + square / 2) / (1 + square)
    half = Z95 * math.sqrt(value * (1 - value) / count + square / (4 * count)) / (1 + square)
    # Exact at the ends, where rounding would leave a hair.
    return (0.0 if not hits else centre - half, 1.0 if hits == count else centre + half)


def half_width(values: Sequence[float]) -> float | None:
    """Half the interval of a mean; None with fewer than two values.

    >>> f"{half_width([0.0, 1.0]):.3f}"
    '0.980'
    """
    count = len(values)
    if count < 2:
        return None
    mean = sum(values) / count
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    return Z95 * math.sqrt(variance / count)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k): the unbiased estimate that one of k samples is right (Chen et al., arXiv 2107.03374).

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    assert 1 <= k <= samples
    return 1 - math.comb(samples - correct, k) / math.comb(samples, k)
