"""The discriminator's part of a step, shared by warm-up and alignment: scores, and the update on them."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from modules.stage import StageModule
from prism_pl.discriminators import Scorer
from prism_pl.discriminators.routing import Usage, balance_loss
from prism_pl.game import (
    DiscriminatorBatch,
    DiscriminatorLossOptions,
    Scores,
    ScoringBatch,
    make_discriminator_batch,
    negative_indices,
    score_batch,
)
from prism_pl.game.monitors import (
    add_expert_load,
    add_game_metrics,
    add_image_effect,
    add_pair_metrics,
    blank_images,
    swap_images,
)
from prism_pl.metrics.means import Means
from prism_pl.model.packing import make_groups
from prism_pl.seeds import derive_seed
from prism_pl.types import Prompt


def judge(stage: StageModule, discriminator: Scorer, scoring: ScoringBatch) -> tuple[torch.Tensor, Usage | None]:
    """``(score_N, usage)``: this rank's scores, and how all ranks' tokens used the experts."""
    score_N, own = score_batch(discriminator, scoring, stage.rounds(scoring.groups))
    if own is None:
        return score_N, None
    return score_N, Usage(*(stage.global_sum(part).float() for part in vars(own).values()))


def in_batch(stage: StageModule, prompts: Sequence[Prompt], count: int) -> list[list[tuple[int, str]]]:
    """``count`` other prompts' teachers for each of this rank's prompts, with their places in the whole batch.

    Chosen over the whole batch: sharding changes nothing.
    """
    if not count:
        return []  # without asking the other ranks
    teachers = stage.whole_batch([prompt.teacher or "" for prompt in prompts])
    own = negative_indices(teachers, count)[stage.global_rank :: stage.trainer.world_size]
    return [[(q, teachers[q] if q >= 0 else "") for q in others] for others in own]


def update_discriminator(
    stage: StageModule,
    discriminator: Scorer,
    optimizer: Any,
    shown: DiscriminatorBatch,
    judged: tuple[torch.Tensor, Usage | None],
    options: DiscriminatorLossOptions,
    means: Means,
    *,
    counted: bool,
) -> None:
    """One optimizer step. ``judged`` are scores and usage under the present weights.

    A pair's two segments may lie in different micro-batches, so the loss is differentiated in two steps that give the
    exact gradient for any packing: dL/dscore from the scores known, then micro-batch by micro-batch dL/dscore . score.
    """
    scoring, (score_N, usage) = shown.scoring, judged
    num_pairs = stage.global_sum(shown.num_pairs())
    leaf_N = score_N.clone().requires_grad_()
    loss = shown.loss(leaf_N, num_pairs, options, stage.whole_rows)
    (gradient_N,) = torch.autograd.grad(loss, leaf_N)
    for packed, counts in stage.rounds(scoring.groups):
        aspect_B = scoring.aspect_N.to(stage.device)[packed.order_B]
        score_B, part = discriminator(packed, aspect_B)
        surrogate = (gradient_N.to(stage.device)[packed.order_B] * score_B).sum()
        if usage is not None and part is not None and discriminator.routing is not None:
            reach_CE = discriminator.routing.reach_CE.to(stage.device)
            surrogate = surrogate + options.balance_weight * balance_loss(part, usage, reach_CE)
        stage.backward_share(surrogate, counts)
    if options.r1_weight:
        _add_gradient_penalty(stage, discriminator, scoring, options, means)
    if usage is not None and discriminator.routing is not None:
        reach_CE = discriminator.routing.reach_CE.to(stage.device)
        means.add("discriminator/balance", balance_loss(usage, usage, reach_CE))
        add_expert_load(usage, reach_CE, means)
    stage.apply_gradients(optimizer, "discriminator", means, counted=counted)


def _add_gradient_penalty(
    stage: StageModule, discriminator: Scorer, scoring: ScoringBatch, options: DiscriminatorLossOptions, means: Means
) -> None:
    """Backward of the approximate R1 penalty: how much noise on the embeddings moves the teachers' scores."""
    groups = make_groups([group.prompt for group in scoring.groups], [group.segments[:2] for group in scoring.groups])
    total = float(stage.global_sum(float(2 * len(groups))))
    for index, (packed, counts) in enumerate(stage.rounds(groups)):
        aspect_B = packed.order_B % 2
        seed = derive_seed("r1", stage.trainer.global_step, stage.global_rank, index)
        clean_B, _ = discriminator(packed, aspect_B)
        noisy_B, _ = discriminator(packed, aspect_B, (options.r1_noise, seed))
        square_B = (clean_B - noisy_B).square()
        stage.backward_share(options.r1_weight * square_B.sum() / total, counts)
        if counts:
            means.add("discriminator/r1", square_B)


def add_heldout_metrics(
    stage: StageModule,
    discriminator: Scorer,
    prompts: Sequence[Prompt],
    responses: Sequence[Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    means: Means,
    prefix: str,
) -> None:
    """Gaps and accuracy on prompts that no stage trains on, and what becomes of them when the images are wrong."""
    others = in_batch(stage, prompts, 1)

    def scores_of(viewed: Sequence[Prompt]) -> tuple[Scores, Scores]:
        shown = make_discriminator_batch(viewed, responses, tokenizer, discriminator.reading, in_batch=others)
        score_N, _ = judge(stage, discriminator, shown.scoring)
        return shown.fresh(score_N), shown.in_batch(score_N)

    scores = scores_of(prompts)
    add_game_metrics(scores[0], means, prefix)
    add_pair_metrics(scores[1], means, f"{prefix}in_batch/")
    for kind, shown in (("swap", swap_images(prompts)), ("blank", blank_images(prompts))):
        add_image_effect(prompts, shown, scores, scores_of(shown), kind, means)
