"""Two models on the same questions: what differs beyond chance. Pure functions of scored responses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from prism_pl.evaluation.figures import Outcome, values
from prism_pl.metrics.bootstrap import Estimate, by_groups


@dataclass(frozen=True)
class Comparison:
    """A model against a reference."""

    questions: int
    """Those that both have answered."""
    differences: dict[str, Estimate]
    """The model's figure minus the reference's, with the 95 % interval of the bootstrap by groups."""
    gained: int
    """Questions that only the model's greedy response solves."""
    lost: int
    """Questions that only the reference's solves."""
    p_value: float | None
    """McNemar's exact one, of ``gained`` and ``lost``; None without greedy responses or if questions share a group, for
    which it would be too small."""


def compare(model: Sequence[Outcome], reference: Sequence[Outcome], budgets: Sequence[int] = ()) -> Comparison | None:
    """Over the questions that both have; None if there are none, or no figure of both."""
    others = {outcome.source: outcome for outcome in reference}
    pairs = [(own, others[own.source]) for own in model if own.source in others]
    if not pairs:
        return None
    (own_QF, own_names), (other_QF, other_names) = (values(side, budgets) for side in zip(*pairs, strict=True))
    common = [name for name in own_names if name in other_names]
    if not common:
        return None
    own_QF = own_QF[:, [own_names.index(name) for name in common]]
    other_QF = other_QF[:, [other_names.index(name) for name in common]]
    groups = [own.group for own, _ in pairs]
    right = [(a.greedy.score > 0, b.greedy.score > 0) for a, b in pairs if a.greedy and b.greedy]
    gained, lost = (sum(pair == only for pair in right) for only in ((True, False), (False, True)))
    exact = bool(right) and len(set(groups)) == len(groups)
    return Comparison(
        questions=len(pairs),
        differences=dict(zip(common, by_groups(own_QF - other_QF, groups), strict=True)),
        gained=gained,
        lost=lost,
        p_value=mcnemar(gained, lost) if exact else None,
    )


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p-value: under equal models each question that one alone solves is a fair coin's toss.

    >>> mcnemar(5, 1), mcnemar(0, 0)
    (0.21875, 1.0)
    """
    tosses = gained + lost
    tail = sum(math.comb(tosses, heads) for heads in range(min(gained, lost) + 1))
    # Integers, as a float cannot hold 2 ** 1024.
    return min(1.0, 2 * tail / 2**tosses)
