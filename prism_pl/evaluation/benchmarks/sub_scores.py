"""A benchmark's own figures beside the accuracy: means over units, each with a 95 % interval. Pure functions."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import mean

import numpy as np

from prism_pl.evaluation.benchmarks.base import Membership, Scores
from prism_pl.evaluation.figures import share
from prism_pl.metrics.bootstrap import Estimate, by_groups


def sub_scores(
    members: Mapping[int, Sequence[Membership]],
    scores: Mapping[int, Sequence[float]],
    groups: Mapping[int, str],
    unit_value: Callable[[str, Scores], float | None],
) -> dict[str, Estimate]:
    """Each figure by its name.

    ``members`` are of all rows, ``scores`` of those that have been answered, n each. The k-th samples of all questions are
    an evaluation of their own; a figure is the mean over the n of them. A unit that lacks a question is left out.
    """
    units: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for row, own in members.items():
        for member in own:
            units[member.figure, member.unit].append((row, member.part))
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for (figure, _), places in units.items():
        if any(row not in scores for row, _ in places):
            continue
        draws = zip(*(scores[row] for row, _ in places), strict=True)
        parts = [part for _, part in places]
        values = [unit_value(figure, list(zip(parts, draw, strict=True))) for draw in draws]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            found[figure].append((mean(known), groups[places[0][0]]))
    return {figure: _estimate(own) for figure, own in found.items()}


def _estimate(values: Sequence[tuple[float, str]]) -> Estimate:
    value_U, groups = np.array([value for value, _ in values]), [group for _, group in values]
    independent = len(set(groups)) == len(groups)
    if independent and np.isin(value_U, (0.0, 1.0)).all():
        return share(value_U)
    (found,) = by_groups(value_U[:, None], groups)
    return found
