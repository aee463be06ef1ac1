"""Distances between distributions of a response's shape: caption items, reasoning steps, length.

TV(p, q) = 1/2 sum_x |p(x) - q(x)|          0 equal, 1 disjoint
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torchmetrics import Metric

from prism_pl.segments import Sections, count_items

LENGTH_BINS = 20
"""At most so many bins for lengths: single lengths would each be too rare to compare."""
_LARGEST = 2**15


def caption_items(sections: Sequence[Sections]) -> tuple[int, ...]:
    """Of each response."""
    return tuple(count_items(own.caption) for own in sections)


def reasoning_steps(sections: Sequence[Sections]) -> tuple[int, ...]:
    """Of each response."""
    return tuple(count_items(own.think) for own in sections)


def length_width(*lengths: Sequence[int]) -> int:
    """The bin width for lengths in tokens, one for all policies that are compared."""
    return -(-max((max(values) for values in lengths if values), default=1) // LENGTH_BINS)


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


class TotalVariation(Metric):
    """Total variation between the distributions of two policies' counts, over all that was added on all ranks.

    Args:
        num_bins: values are put into at most so many bins of equal width; None is one bin a value.
    """

    policy: torch.Tensor
    teacher: torch.Tensor

    def __init__(self, num_bins: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.num_bins = num_bins
        # Counts of a fixed size, so that the states of all ranks have one shape.
        for state in ("policy", "teacher"):
            self.add_state(state, torch.zeros(_LARGEST + 1), "sum")

    def update(self, policy_N: torch.Tensor, teacher_M: torch.Tensor) -> None:
        """Whole numbers from 0 on; larger ones than 32,768 count as that."""
        self.policy += _counts(policy_N).to(self.policy)
        self.teacher += _counts(teacher_M).to(self.teacher)

    def compute(self) -> torch.Tensor | None:
        if not self.policy.sum() or not self.teacher.sum():
            return None
        largest = int((self.policy + self.teacher).nonzero().max())
        width = 1 if self.num_bins is None else max(1, -(-largest // self.num_bins))
        p, q = (_binned(counts, width) / counts.sum() for counts in (self.policy, self.teacher))
        return (p - q).abs().sum() / 2


def _counts(values: torch.Tensor) -> torch.Tensor:
    return torch.bincount(values.long().clamp_max(_LARGEST), minlength=_LARGEST + 1)


def _binned(counts: torch.Tensor, width: int) -> torch.Tensor:
    padded = torch.nn.functional.pad(counts, (0, -len(counts) % width))
    return padded.reshape(-1, width).sum(1)
