"""Intervals over seeds and prompts by the bootstrap, and how often an arm is above another.

S  seeds        P  prompts        D  draws        N  values        F  figures        C  groups

draw = mean over drawn seeds and drawn prompts;     interval = the 2.5 % and 97.5 % quantiles of the draws

Seeds and prompts are crossed: every seed answers the same held-out prompts. So a draw takes seeds with replacement, then
prompts with replacement, the same ones for all its seeds and for both arms of a difference (the pigeonhole bootstrap:
Owen, "The pigeonhole bootstrap", 2007). New prompts for each seed would count one prompt as many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

DRAWS = 10_000
_LEVEL = (0.025, 0.975)
_DRAWS_A_BLOCK = 500
Array = np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval; no interval where there is nothing to resample."""

    mean: float
    low: float | None
    high: float | None


def estimate(value_SP: Array, seed: int = 0) -> Estimate:
    """Mean and interval of values (seeds, prompts).

    One seed: the interval is over prompts alone. A single column, a figure of the policy as a whole: over seeds alone.
    """
    if value_SP.size == 1:
        return Estimate(float(value_SP.item()), None, None)
    low, high = np.quantile(draws(value_SP, seed), _LEVEL)
    return Estimate(float(value_SP.mean()), float(low), float(high))


def paired(value_SP: Array, other_SP: Array) -> Estimate:
    """The mean difference over the same seeds and prompts, with its interval."""
    return estimate(value_SP - other_SP)


def by_groups(value_NF: Array, groups: Sequence[str], seed: int = 0) -> list[Estimate]:
    """The mean of each column with its interval, where values with one name in ``groups`` are drawn together.

    A draw is the mean of all values in the drawn groups, which may be of different sizes. One group has no interval.
    """
    names, index_N = np.unique(np.array(groups), return_inverse=True)
    mean_F = value_NF.mean(axis=0)
    if len(names) == 1:
        return [Estimate(float(mean), None, None) for mean in mean_F]
    sum_CF = np.zeros((len(names), value_NF.shape[1]))
    np.add.at(sum_CF, index_N, value_NF)
    size_C = np.bincount(index_N).astype(float)
    generator, blocks = np.random.default_rng(seed), []
    # In blocks: all draws of thousands of groups at once would be hundreds of megabytes.
    for _ in range(DRAWS // _DRAWS_A_BLOCK):
        drawn_DC = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_DRAWS_A_BLOCK).astype(float)
        blocks.append(drawn_DC @ sum_CF / (drawn_DC @ size_C)[:, None])
    low_F, high_F = np.quantile(np.concatenate(blocks), _LEVEL, axis=0)
    return [Estimate(*map(float, own)) for own in zip(mean_F, low_F, high_F, strict=True)]


def with_interval(value: Estimate, digits: int, sign: str = "") -> str:
    """As text; ``sign`` is ``+`` for a difference.

    >>> with_interval(Estimate(0.5, -0.25, 1.0), 2, "+")
    '+0.50 [-0.25, +1.00]'
    """
    # Adding 0 makes -0 a 0.
    mean, low, high = (None if v is None else round(v, digits) + 0.0 for v in (value.mean, value.low, value.high))
    interval = "" if low is None or high is None else f" [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"
    return f"{mean:{sign}.{digits}f}{interval}"


def draws(value_SP: Array, seed: int = 0) -> Array:
    """The bootstrap's D means; the same draws for all values of one shape."""
    seed_DS, prompt_DP = _shares(*value_SP.shape, seed)
    return ((prompt_DP @ value_SP.T) * seed_DS).sum(axis=1)


def num_above(value_SP: Array, other_SP: Array) -> int:
    """In how many seeds the mean over prompts is above the other's."""
    # Means of the same scores in another order may differ in their last digit.
    return int((value_SP.mean(axis=1) > other_SP.mean(axis=1) + 1e-9).sum())


def stacked(rows: Sequence[Sequence[float]]) -> Array:
    """Rows of one length, one a seed, as (S, P)."""
    return np.array(rows, dtype=float)


@lru_cache(maxsize=4)
def _shares(num_seeds: int, num_prompts: int, seed: int) -> tuple[Array, Array]:
    """How much of each draw is a seed's, (D, S), and a prompt's, (D, P)."""
    generator = np.random.default_rng(seed)
    seed_DS, prompt_DP = (
        generator.multinomial(count, np.full(count, 1 / count), size=DRAWS) / count for count in (num_seeds, num_prompts)
    )
    return seed_DS, prompt_DP
