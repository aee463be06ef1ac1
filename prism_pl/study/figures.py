"""The figures of a policy on held-out prompts: one value a prompt where there is one, else one a policy.

greedy       score of the greedy response
sampled      mean score of n samples at temperature 1 (avg@n)
nucleus      score of one sample at temperature 1, top-p 0.7: the paper's figure
pass@n       1 if any of the n samples is right (with n samples the unbiased estimate of pass@n)
format       share of the n samples that are well-formed
tokens       mean length of the n samples, end token included
tv_*, w1_*, kl_*, js_*    distances between samples and teachers, over prompts with a teacher (prism_pl/drift)
"""

from collections.abc import Callable, Sequence
from statistics import mean

import torch

from prism_pl.drift import CLOUD_DISTANCES, COUNT_DISTANCES, Drift, counted, drift, measured, together
from prism_pl.metrics.intervals import pass_at_k
from prism_pl.segments import parse_response
from prism_pl.study.answers import Answered

ACCURACIES = ("greedy", "sampled", "nucleus", "pass@n")
OF_PROMPTS = (*ACCURACIES, "format", "tokens")
"""Figures with a value a prompt."""
DISTANCES = tuple(COUNT_DISTANCES)
"""Figures of a policy as a whole."""


def of_prompt(record: Answered) -> dict[str, float]:
    """One value of each of ``OF_PROMPTS``."""
    scores = [one.score for one in record.sampled]
    right = sum(score > 0 for score in scores)
    return {
        "greedy": record.greedy.score,
        "sampled": mean(scores),
        "nucleus": record.nucleus.score,
        "pass@n": pass_at_k(len(scores), right, len(scores)),
        "format": mean(parse_response(one.text) is not None for one in record.sampled),
        "tokens": mean(one.tokens for one in record.sampled),
    }


def distances(records: Sequence[Answered]) -> dict[str, float]:
    """``DISTANCES`` of all samples to the teachers of the same prompts; one that has no values is left out.

    Items and steps are counted in well-formed responses, the others in all. Lengths are binned by the teachers' longest, so
    that the bins are the same for every policy.
    """
    said, teachers = _features(_taught(records))
    samples = [one for group in said for one in group]
    found = {
        name: measured(own.metric(), together(samples, own.feature), together(teachers, own.feature))
        for name, own in COUNT_DISTANCES.items()
    }
    return {name: value for name, value in found.items() if value is not None}


def drifts(
    records: Sequence[Answered], embed: Callable[[Sequence[str]], torch.Tensor] | None = None, seed: int = 0
) -> dict[str, Drift]:
    """Each distance beside its floor, over halves of the prompts with a teacher; one that has no values is left out.

    ``embed`` gives each text's point (N, H), for ``CLOUD_DISTANCES``; it is called once, for all texts.
    """
    taught = _taught(records)
    said, teachers = _features(taught)
    found = {
        name: drift(
            own.metric(),
            [[one[own.feature] for one in group] for group in said],
            [one[own.feature] for one in teachers],
            seed=seed,
        )
        for name, own in COUNT_DISTANCES.items()
    }
    if embed is not None and taught:
        sizes = [len(record.sampled) for record in taught]
        samples = [one.text for record in taught for one in record.sampled]
        point_NH = embed([*samples, *(record.teacher or "" for record in taught)])
        # Of each prompt its responses, each a cloud of one point.
        groups = [list(own.split(1)) for own in point_NH[: len(samples)].split(sizes)]
        taught_points = list(point_NH[len(samples) :].split(1))
        found |= {name: drift(kind(), groups, taught_points, seed=seed) for name, kind in CLOUD_DISTANCES.items()}
    return {name: own for name, own in found.items() if own is not None}


def _taught(records: Sequence[Answered]) -> list[Answered]:
    return [record for record in records if record.teacher is not None]


def _features(
    taught: Sequence[Answered],
) -> tuple[list[list[dict[str, torch.Tensor]]], list[dict[str, torch.Tensor]]]:
    """Of each prompt's samples, and of its teacher."""
    said = [[counted(one.text, one.tokens) for one in record.sampled] for record in taught]
    return said, [counted(record.teacher or "", record.teacher_tokens or 0) for record in taught]
