"""What a person wants to know of the game: gaps, margins, lengths, the mixture's experts, whether the image counts.

Sums travel over micro-batches and ranks; quantiles are each rank's own, averaged over ranks.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torchmetrics import MeanMetric, Metric

from prism_pl.discriminators.routing import KINDS, Usage
from prism_pl.game.scoring_batch import Scores
from prism_pl.metrics.collection import StepMetrics, correlations, local, means
from prism_pl.types import ASPECTS, Prompt

# Scores of equal texts differ by rounding: closer than this they are equal.
_TIE = 1e-5
_QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}


class RewardGap(MeanMetric):
    """Mean of teacher minus policy over pairs: what the policy's reward still lacks. It is given each pair's margin."""


class PairAccuracy(MeanMetric):
    """The share of pairs whose first member is ahead; half of those that are equal, which is what guessing would give."""

    def update(self, value: torch.Tensor | float, weight: torch.Tensor | float | None = None) -> None:
        """``value``: the score of each pair's first member minus that of its second."""
        super().update(accuracy(torch.as_tensor(value)), weight)


def accuracy(margin: torch.Tensor) -> torch.Tensor:
    """1 where the first is ahead, 1/2 where the two scores are equal."""
    return 0.5 * ((margin > _TIE).float() + (margin > -_TIE).float())


def game_metrics(prefix: str = "") -> dict[str, Metric]:
    """What ``add_game_metrics`` adds to."""
    names = ["discriminator_loss/{}", "score/teacher_{}", "score/policy_{}", "score/square_{}"]
    names += [f"margin/{{}}_{level}" for level in _QUANTILES]
    names += ["unreached_gap/{}"]
    kept = [f"{prefix}{name.format(aspect)}" for name in names for aspect in ASPECTS]
    return pair_metrics(prefix) | means(*kept, f"{prefix}format_rate")


def add_game_metrics(scores: Scores, metrics: StepMetrics, prefix: str = "") -> None:
    """Reward gap (mean teacher minus mean policy score), accuracy, margins and scores of each aspect, over valid pairs.

    ``unreached_gap`` is the gap of the best response of each group that has two or more: what no advantage can lead to.
    """
    add_pair_metrics(scores, metrics, prefix)
    several_P = scores.valid_PG.sum(1) > 1
    best_PK = scores.policy_PGK.masked_fill(~scores.valid_PG[..., None], -torch.inf).amax(1)
    for k, aspect in enumerate(ASPECTS):
        margin_M = scores.margin_MK[:, k]
        policy_M = scores.policy_PGK[..., k][scores.valid_PG]
        metrics.add(f"{prefix}discriminator_loss/{aspect}", -F.logsigmoid(margin_M))
        metrics.add(f"{prefix}unreached_gap/{aspect}", (scores.teacher_PK - best_PK)[several_P, k])
        metrics.add(f"{prefix}score/teacher_{aspect}", scores.teacher_PK[:, k])
        metrics.add(f"{prefix}score/policy_{aspect}", policy_M)
        metrics.add(f"{prefix}score/square_{aspect}", torch.cat([scores.teacher_PK[:, k], policy_M]).square())
        for name, level in _QUANTILES.items():
            metrics.add(f"{prefix}margin/{aspect}_{name}", margin_M.quantile(level) if len(margin_M) else margin_M)
    metrics.add(f"{prefix}format_rate", scores.valid_PG.float())


def pair_metrics(prefix: str) -> dict[str, Metric]:
    """What ``add_pair_metrics`` adds to."""
    gaps = {f"{prefix}reward_gap/{aspect}": local(RewardGap, nan_strategy="disable") for aspect in ASPECTS}
    return gaps | {f"{prefix}accuracy/{aspect}": local(PairAccuracy, nan_strategy="disable") for aspect in ASPECTS}


def add_pair_metrics(scores: Scores, metrics: StepMetrics, prefix: str) -> None:
    """Reward gap and accuracy of each aspect alone."""
    for k, aspect in enumerate(ASPECTS):
        metrics.add(f"{prefix}reward_gap/{aspect}", scores.margin_MK[:, k])
        metrics.add(f"{prefix}accuracy/{aspect}", scores.margin_MK[:, k])


def length_correlations() -> dict[str, Metric]:
    """What ``add_length_correlation`` adds to."""
    return correlations(*(f"score_length_correlation/{aspect}" for aspect in ASPECTS))


def add_length_correlation(scores: Scores, length_PG: torch.Tensor, metrics: StepMetrics) -> None:
    """Pearson correlation of a policy response's score with its length in tokens, inside its group, per aspect.

    Scores and lengths are centred in each group, so that a prompt's difficulty does not count. A rank adds nothing
    where one of them is constant.
    """
    valid_PG = scores.valid_PG
    count_P1 = valid_PG.sum(1, keepdim=True).clamp_min(1)

    def centred(value_PG: torch.Tensor) -> torch.Tensor:
        mean_P1 = (value_PG * valid_PG).sum(1, keepdim=True) / count_P1
        return ((value_PG - mean_P1) * valid_PG)[valid_PG].double()

    length_M = centred(length_PG.float())
    for k, aspect in enumerate(ASPECTS):
        score_M = centred(scores.policy_PGK[..., k])
        if score_M.norm() > _TIE * len(score_M) ** 0.5 and length_M.norm() > 0:
            metrics.add(f"score_length_correlation/{aspect}", score_M, length_M)


def expert_loads(reach_CE: torch.Tensor) -> dict[str, Metric]:
    """What ``add_expert_load`` adds to."""
    return means(*(_load_name(c, expert) for c, expert in reach_CE.nonzero().tolist()))


def add_expert_load(whole: Usage, reach_CE: torch.Tensor, metrics: StepMetrics) -> None:
    """Mean router probability of each expert that a kind of token may reach; ``whole`` is summed over ranks."""
    load_CE = whole.load_CE()
    for c, expert in reach_CE.nonzero().tolist():
        metrics.add(_load_name(c, expert), load_CE[c, expert])


def _load_name(kind: int, expert: int) -> str:
    return f"expert_load/{KINDS[kind]}_{expert}"


def swap_images(prompts: Sequence[Prompt], negatives: Sequence[Collection[str]] = ()) -> list[Prompt]:
    """Each prompt with the image of the nearest before it, around the end, of the same size; without one it keeps its own.

    ``negatives`` are the responses that each prompt's teacher is compared with: an image that one of them describes would
    make it right, so it is passed over.
    """
    result = list(prompts)
    by_grid: dict[str, list[int]] = {}
    for p, prompt in enumerate(prompts):
        if prompt.image_grid is not None:
            by_grid.setdefault(str(prompt.image_grid.tolist()), []).append(p)
    for members in by_grid.values():
        for place, own in enumerate(members):
            before = [*members[:place][::-1], *members[place + 1 :][::-1]]
            compared = negatives[own] if negatives else ()
            other = next((q for q in before if prompts[q].teacher not in compared), own)
            result[own] = replace(prompts[own], pixel_values=prompts[other].pixel_values)
    return result


def blank_images(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Each prompt with its pixels replaced by their mean: an image of the same size that shows nothing."""
    return [
        prompt
        if prompt.pixel_values is None
        else replace(prompt, pixel_values=torch.full_like(prompt.pixel_values, float(prompt.pixel_values.mean())))
        for prompt in prompts
    ]


def image_effects(*kinds: str) -> dict[str, Metric]:
    """What ``add_image_effect`` adds to."""
    drops = ("score_drop", "accuracy_drop", "in_batch_accuracy_drop")
    preferences = {f"image/{kind}_preference": local(PairAccuracy, nan_strategy="disable") for kind in kinds}
    return preferences | means(*(f"image/{kind}_{drop}" for kind in kinds for drop in drops))


def add_image_effect(
    prompts: Sequence[Prompt],
    shown: Sequence[Prompt],
    scores: tuple[Scores, Scores],
    altered: tuple[Scores, Scores],
    kind: str,
    metrics: StepMetrics,
) -> None:
    """What a changed image does to the perception score, over the prompts whose pixels are others in ``shown``.

    ``scores`` and ``altered`` are those of the policy's responses and of other prompts' teachers, before and after.

    ``image/<kind>_preference`` is how often the teacher's caption scores higher with its own image than with the other: 1/2
    if the image does not count. ``_score_drop`` is the fall of the teacher's score, ``_accuracy_drop`` that of the accuracy
    against the policy, and ``_in_batch_accuracy_drop`` against other teachers: alike in style, so only the image tells.
    """
    pairs_of_prompts = zip(prompts, shown, strict=True)
    changed_P = torch.tensor([own.pixel_values is not other.pixel_values for own, other in pairs_of_prompts])
    own, other = scores[0].teacher_PK[changed_P, 0], altered[0].teacher_PK[changed_P, 0]
    metrics.add(f"image/{kind}_preference", own - other)
    metrics.add(f"image/{kind}_score_drop", own - other)
    for name, before, after in zip(("", "in_batch_"), scores, altered, strict=True):
        valid_PG = before.valid_PG & changed_P[:, None]
        pairs = [accuracy((part.teacher_PK[:, None] - part.policy_PGK)[valid_PG][:, 0]) for part in (before, after)]
        metrics.add(f"image/{kind}_{name}accuracy_drop", pairs[0] - pairs[1])
