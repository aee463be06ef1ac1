"""What a distance is when nothing has drifted: the teacher against itself, and the policy against it at the same size.

A distance of two samples is not 0 for equal policies: it falls with their size. So each of ``SPLITS`` random splits cuts
the prompts into two halves A and B:

    value  d(policy's responses to A, teacher's to B)        floor  d(teacher's to A, teacher's to B)

one response a prompt on either side, no prompt on both. If the policy answers as the teacher does, value and floor have the
same distribution. Reported are the means over splits, and the range of the middle 95 %:

- the floor's range is where a distance falls that means nothing (the permutation distribution of the teacher's responses);
- the value's is a bootstrap by half samples, without replacement: its spread is that of a mean over all prompts (McCarthy,
  "Pseudo-replication", 1969). Drawn with replacement a response would meet its own copy, and every distance be too large.

Drift is shown where the value's whole range lies above the floor's. Of what the teacher hardly ever does the floor's range
is too narrow, as all splits share the few odd responses: a mean above it alone shows nothing.

More prompts lower value and floor alike: compare a value with its own floor, and not with one of another size.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean

import numpy as np
import torch
from torchmetrics import Metric

from prism_pl.drift.distributions import measured

SPLITS = 200
_LEVEL = (0.025, 0.975)


@dataclass(frozen=True)
class Ranged:
    """A mean over splits, with the range of the middle 95 %."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Drift:
    """A distance, and what it is for no drift at all."""

    value: Ranged
    floor: Ranged

    @property
    def record(self) -> dict[str, dict[str, float]]:
        """For a JSON file."""
        return asdict(self)


def drift(
    metric: Metric,
    policy: Sequence[Sequence[torch.Tensor]],
    teacher: Sequence[torch.Tensor],
    splits: int = SPLITS,
    seed: int = 0,
) -> Drift | None:
    """Distance and floor over the same splits; None if a half has too few values.

    Args:
        metric: takes the policy's and the teacher's values.
        policy: of each prompt its responses, each as what ``metric`` takes of one; a split takes one of them at random.
        teacher: of each prompt the teacher's response.
        splits: how many.
        seed: of the splits, which are the same for every metric.
    """
    values: list[float] = []
    floors: list[float] = []
    for half, other, picks in _splits([len(own) for own in policy], splits, seed):
        taught = torch.cat([teacher[prompt] for prompt in other])
        value = measured(metric, torch.cat([policy[prompt][picks[prompt]] for prompt in half]), taught)
        floor = measured(metric, torch.cat([teacher[prompt] for prompt in half]), taught)
        if value is None or floor is None:
            return None
        values.append(value)
        floors.append(floor)
    return Drift(_ranged(values), _ranged(floors)) if values else None


def floor_of(metric: Metric, teacher: Sequence[torch.Tensor], splits: int = SPLITS, seed: int = 0) -> Ranged | None:
    """The floor alone."""
    found = drift(metric, [[own] for own in teacher], teacher, splits, seed)
    return None if found is None else found.floor


def _splits(num_responses: Sequence[int], splits: int, seed: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Each time two halves of the prompts, an odd one left out, and which of its responses a prompt gives."""
    half = len(num_responses) // 2
    if not half:
        return []
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(splits):
        order = generator.permutation(len(num_responses)).tolist()
        found.append((order[:half], order[half : 2 * half], generator.integers(num_responses).tolist()))
    return found


def _ranged(values: Sequence[float]) -> Ranged:
    low, high = np.quantile(values, _LEVEL)
    return Ranged(mean(values), float(low), float(high))
