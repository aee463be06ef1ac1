"""The figures of a policy on held-out prompts: one value a prompt where there is one, else one a policy.

greedy       score of the greedy response
sampled      mean score of n samples at temperature 1 (avg@n)
nucleus      score of one sample at temperature 1, top-p 0.7: the paper's figure
pass@n       1 if any of the n samples is right (with n samples the unbiased estimate of pass@n)
format       share of the n samples that are well-formed
tokens       mean length of the n samples, end token included
tv_*         total variation between samples and teachers, over prompts with a teacher
"""

from collections.abc import Sequence
from statistics import mean

from prism_pl.metrics.intervals import pass_at_k
from prism_pl.metrics.proxies import caption_items, length_width, reasoning_steps, shares, total_variation
from prism_pl.segments import parse_response
from prism_pl.study.answers import Answered

ACCURACIES = ("greedy", "sampled", "nucleus", "pass@n")
OF_PROMPTS = (*ACCURACIES, "format", "tokens")
"""Figures with a value a prompt."""
DISTANCES = ("tv_caption_items", "tv_reasoning_steps", "tv_length")
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
    """``DISTANCES`` of the samples to the teachers of the same prompts; one that has no values is left out.

    Items and steps are counted in well-formed responses, lengths in all. Lengths are binned by the teachers' longest, so
    that the bins are the same for every policy.
    """
    taught = [record for record in records if record.teacher is not None]
    teachers = [sections for record in taught if (sections := parse_response(record.teacher or ""))]
    said = [sections for record in taught for one in record.sampled if (sections := parse_response(one.text))]
    teacher_tokens = [record.teacher_tokens or 0 for record in taught]
    width = length_width(teacher_tokens)
    compared = {
        "tv_caption_items": (caption_items(said), caption_items(teachers), 1),
        "tv_reasoning_steps": (reasoning_steps(said), reasoning_steps(teachers), 1),
        "tv_length": ([one.tokens for record in taught for one in record.sampled], teacher_tokens, width),
    }
    return {
        name: total_variation(shares(policy, bins), shares(teacher, bins))
        for name, (policy, teacher, bins) in compared.items()
        if policy and teacher
    }
