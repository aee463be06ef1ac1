"""95% intervals of shares and means, and pass@k."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torchmetrics import Metric

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


def pass_ks(num_samples: int) -> list[int]:
    """The k that pass@k is told for: 2, 4, 8, .. and the number of samples.

    >>> pass_ks(6), pass_ks(1)
    ([2, 4, 6], [])
    """
    return sorted({*(2**power for power in range(1, num_samples.bit_length())), num_samples} - {1})


class WilsonAccuracy(Metric):
    """Mean score of graded responses, with Wilson's 95% interval of the share that scores above 0.

    ``compute`` gives the keys "", "_low" and "_high".
    """

    scores: torch.Tensor
    hits: torch.Tensor
    count: torch.Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for state in ("scores", "hits", "count"):
            self.add_state(state, torch.tensor(0.0), "sum")

    def update(self, scores: torch.Tensor) -> None:
        """Scores in [0, 1]."""
        self.scores += scores.double().sum()
        self.hits += (scores > 0).sum()
        self.count += scores.numel()

    def compute(self) -> dict[str, torch.Tensor]:
        low, high = wilson(int(self.hits), int(self.count))
        return {"": self.scores / self.count, "_low": self.scores.new_tensor(low), "_high": self.scores.new_tensor(high)}


class MeanWithInterval(Metric):
    """Mean and half of its 95% interval; ``compute`` gives the keys "" and, from two values on, "_half_width"."""

    total: torch.Tensor
    squares: torch.Tensor
    count: torch.Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for state in ("total", "squares", "count"):
            self.add_state(state, torch.tensor(0.0), "sum")

    def update(self, values: torch.Tensor) -> None:
        """Any values."""
        self.total += values.double().sum()
        self.squares += values.double().square().sum()
        self.count += values.numel()

    def compute(self) -> dict[str, torch.Tensor | None]:
        mean = self.total / self.count
        # Not below zero, where rounding would leave a hair.
        variance = (self.squares / self.count - mean.square()).clamp_min(0) * self.count / (self.count - 1)
        return {"": mean, "_half_width": Z95 * (variance / self.count).sqrt() if self.count > 1 else None}


class PassAtK(Metric):
    """Mean of ``pass_at_k`` over prompts, for k = 2, 4, 8, .. and the number of samples; ``compute``'s keys are the k.

    Args:
        num_samples: n, samples a prompt.
    """

    passes: torch.Tensor
    count: torch.Tensor

    def __init__(self, num_samples: int, **options: Any) -> None:
        super().__init__(**options)
        self.num_samples = num_samples
        self.ks = pass_ks(num_samples)
        self.add_state("passes", torch.zeros(len(self.ks)), "sum")
        self.add_state("count", torch.tensor(0.0), "sum")

    def update(self, right_P: torch.Tensor) -> None:
        """How many of each prompt's samples are right."""
        for right in right_P.tolist():
            self.passes += self.passes.new_tensor([pass_at_k(self.num_samples, int(right), k) for k in self.ks])
            self.count += 1

    def compute(self) -> dict[str, torch.Tensor]:
        return {str(k): value / self.count for k, value in zip(self.ks, self.passes, strict=True)}
