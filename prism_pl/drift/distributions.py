"""Distances between two policies' distributions of a whole number: items, steps, lengths, words.

X  values 0, 1, 2, ..      p  shares of the policy's counts      q  shares of the teacher's      F, G  their running sums

TV(p, q) = 1/2 sum_x |p(x) - q(x)|                      0 equal, 1 disjoint
W1(p, q) = sum_x |F(x) - G(x)|                          how far a response's value must move on average, in the value's unit
KL(q, p) = sum_x q'(x) ln(q'(x) / p'(x))                nats a response of the teacher's costs more under the policy
JS(p, q) = H((p + q) / 2) - (H(p) + H(q)) / 2           in bits: 0 equal, 1 disjoint

KL is infinite where the policy never does what the teacher does once. So half a count is added to every value (bin) that
either has, q' = (count + 1/2) / (sum + K/2) with K of them: Krichevsky and Trofimov's estimate, "The performance of
universal encoding", 1981. Its direction punishes what the policy has lost.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torchmetrics import Metric

LENGTH_BINS = 20
"""At most so many bins up to the teacher's longest: single lengths would each be too rare to compare."""
_LARGEST = 2**15
_SMOOTHING = 0.5


def bin_width(largest: int, num_bins: int | None) -> int:
    """The width with which ``num_bins`` bins reach ``largest``; 1 without a number of bins.

    >>> bin_width(41, 20), bin_width(7, 20), bin_width(41, None)
    (3, 1, 1)
    """
    return 1 if num_bins is None else max(1, -(-largest // num_bins))


class CountDistance(Metric):
    """A distance of two distributions of whole numbers, over all that was added on all ranks.

    Args:
        size: values from here on count as ``size - 1``.
        num_bins: the teacher's range is cut into at most so many bins of equal width, which the policy's values beyond it
            continue; None is one bin a value. The bins depend on no policy, so that policies can be compared.
    """

    full_state_update = False
    policy: torch.Tensor
    teacher: torch.Tensor

    def __init__(self, size: int = _LARGEST + 1, num_bins: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.size, self.num_bins = size, num_bins
        # Counts of a fixed size: a sum over ranks is all that merging takes.
        for state in ("policy", "teacher"):
            self.add_state(state, torch.zeros(size, dtype=torch.float64), "sum")

    def update(self, policy_N: torch.Tensor, teacher_M: torch.Tensor) -> None:
        """Whole numbers from 0 on."""
        self.policy += self._counts(policy_N)
        self.teacher += self._counts(teacher_M)

    def compute(self) -> torch.Tensor | None:
        """None if either side has no value."""
        if not self.policy.sum() or not self.teacher.sum():
            return None
        largest_policy, largest_teacher = (int(counts.nonzero().max()) for counts in (self.policy, self.teacher))
        width, end = bin_width(largest_teacher, self.num_bins), max(largest_policy, largest_teacher) + 1
        policy_X, teacher_X = (_binned(counts[:end], width) for counts in (self.policy, self.teacher))
        return self.distance(policy_X, teacher_X)

    @staticmethod
    @abstractmethod
    def distance(policy_X: torch.Tensor, teacher_X: torch.Tensor) -> torch.Tensor:
        """Of two counts by value, neither of them empty."""

    def _counts(self, values: torch.Tensor) -> torch.Tensor:
        return torch.bincount(values.long().clamp_max(self.size - 1), minlength=self.size).to(self.policy)


class TotalVariation(CountDistance):
    """TV: half the sum of absolute differences of shares."""

    @staticmethod
    def distance(policy_X: torch.Tensor, teacher_X: torch.Tensor) -> torch.Tensor:
        return (_shares(policy_X) - _shares(teacher_X)).abs().sum() / 2


class Wasserstein(CountDistance):
    """W1, in the unit of the values; take no bins with it."""

    @staticmethod
    def distance(policy_X: torch.Tensor, teacher_X: torch.Tensor) -> torch.Tensor:
        return (_shares(policy_X) - _shares(teacher_X)).cumsum(0).abs().sum()


class KullbackLeibler(CountDistance):
    """KL of the policy from the teacher, in nats, smoothed by half a count."""

    @staticmethod
    def distance(policy_X: torch.Tensor, teacher_X: torch.Tensor) -> torch.Tensor:
        seen_X = (policy_X + teacher_X) > 0
        p, q = (_shares(counts[seen_X] + _SMOOTHING) for counts in (policy_X, teacher_X))
        return (q * (q / p).log()).sum()


class JensenShannon(CountDistance):
    """JS, in bits."""

    @staticmethod
    def distance(policy_X: torch.Tensor, teacher_X: torch.Tensor) -> torch.Tensor:
        p, q = _shares(policy_X), _shares(teacher_X)
        # Rounding may leave a hair below 0.
        return (_bits((p + q) / 2) - (_bits(p) + _bits(q)) / 2).clamp_min(0)


def measured(metric: Metric, policy: torch.Tensor, teacher: torch.Tensor) -> float | None:
    """The distance between these alone, whatever other ranks have; None where it is not defined."""
    metric.reset()
    metric.update(policy, teacher)
    # The instance's own ``compute`` would sync over ranks first.
    value = type(metric).compute(metric)
    metric.reset()
    return None if value is None else float(value)


def shares(values: Sequence[int], width: int = 1) -> dict[int, float]:
    """The share of each bin of ``width`` that is not empty, by the bin's lower edge.

    >>> shares([0, 3, 4, 9], width=4)
    {0: 0.5, 4: 0.25, 8: 0.25}
    """
    counts = torch.bincount(torch.tensor(values) // width).tolist()
    return {index * width: count / len(values) for index, count in enumerate(counts) if count}


def _shares(counts_X: torch.Tensor) -> torch.Tensor:
    return counts_X / counts_X.sum()


def _bits(p: torch.Tensor) -> torch.Tensor:
    """The entropy, with 0 log 0 = 0."""
    return -torch.special.xlogy(p, p).sum() / torch.log(p.new_tensor(2.0))


def _binned(counts: torch.Tensor, width: int) -> torch.Tensor:
    padded = torch.nn.functional.pad(counts, (0, -len(counts) % width))
    return padded.reshape(-1, width).sum(1)
