"""The figures of one model on one set, each with a 95 % interval: pure functions of scored responses.

greedy       mean score of the greedy responses
avg@n        mean score of n samples a question, then over questions
pass@k       one of k samples is right: the unbiased estimate from n samples (``metrics/intervals.py``)
format       share that is well-formed        truncated    share that was cut at the length limit
tokens       mean length, end token included
within_b     mean score where a response that is longer than b tokens scores 0. What is sampled does not depend on the
             length limit, so it is the accuracy under the limit b, and models are compared at matched budgets

``format``, ``truncated``, ``tokens`` and ``within_b`` are of the samples; of the greedy responses with ``greedy_`` before
the name.

Wilson's interval where each question gives one response that is right or wrong and no two questions share a group; else the
bootstrap by groups (``metrics/bootstrap.py``), of which a question that shares its group with none is one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

from prism_pl.metrics.bootstrap import Estimate, by_groups
from prism_pl.metrics.intervals import pass_at_k, pass_ks, wilson


@dataclass(frozen=True)
class Scored:
    """What counts of one response."""

    score: float
    """In [0, 1]; above 0 is right."""
    tokens: int | None
    """End token included; None if whoever answered does not tell."""
    well_formed: bool
    truncated: bool


@dataclass(frozen=True)
class Outcome:
    """One question with a model's responses."""

    source: str
    """``file:row``."""
    group: str
    """Questions with one group are not independent, such as several about one problem."""
    greedy: Scored | None
    samples: tuple[Scored, ...] = ()


def figures(outcomes: Sequence[Outcome], budgets: Sequence[int] = ()) -> dict[str, Estimate]:
    """Each figure by its name; ``budgets`` are the b of ``within_b``.

    All questions must have equally many responses. Lengths, and what follows from them, are left out if any is unknown.
    """
    value_QF, names = values(outcomes, budgets)
    groups = [outcome.group for outcome in outcomes]
    found = dict(zip(names, by_groups(value_QF, groups), strict=True))
    independent = len(set(groups)) == len(groups)
    for name, value_Q in zip(names, value_QF.T, strict=True):
        alone = name.startswith("greedy") or len(outcomes[0].samples) == 1
        if alone and independent and not name.endswith("tokens") and np.isin(value_Q, (0.0, 1.0)).all():
            found[name] = share(value_Q)
    return found


def share(value_Q: np.ndarray) -> Estimate:
    """Of values that are 0 or 1 and independent, with Wilson's interval."""
    return Estimate(float(value_Q.mean()), *wilson(int(value_Q.sum()), len(value_Q)))


def values(outcomes: Sequence[Outcome], budgets: Sequence[int] = ()) -> tuple[np.ndarray, list[str]]:
    """Each question's value of each figure (Q, F), and the figures' names."""
    assert outcomes
    assert len({(outcome.greedy is None, len(outcome.samples)) for outcome in outcomes}) == 1
    responses = (one for outcome in outcomes for one in (outcome.greedy, *outcome.samples) if one is not None)
    measured = all(one.tokens is not None for one in responses)
    rows = [dict(_of_question(outcome, budgets if measured else (), measured)) for outcome in outcomes]
    return np.array([list(row.values()) for row in rows], dtype=float), list(rows[0])


def _of_question(outcome: Outcome, budgets: Sequence[int], measured: bool) -> Iterator[tuple[str, float]]:
    if outcome.greedy is not None:
        yield "greedy", outcome.greedy.score
        for name, value in _of_responses([outcome.greedy], budgets, measured):
            yield f"greedy_{name}", value
    if outcome.samples:
        count, right = len(outcome.samples), sum(one.score > 0 for one in outcome.samples)
        yield f"avg@{count}", mean(one.score for one in outcome.samples)
        for k in pass_ks(count):
            yield f"pass@{k}", pass_at_k(count, right, k)
        yield from _of_responses(outcome.samples, budgets, measured)


def _of_responses(responses: Sequence[Scored], budgets: Sequence[int], measured: bool) -> Iterator[tuple[str, float]]:
    yield "format", mean(one.well_formed for one in responses)
    yield "truncated", mean(one.truncated for one in responses)
    if measured:
        yield "tokens", mean(one.tokens or 0 for one in responses)
    for budget in budgets:
        yield f"within_{budget}", mean(one.score * ((one.tokens or 0) <= budget) for one in responses)
