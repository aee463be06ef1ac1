"""The discriminator's part of a step, shared by warm-up and alignment: scores, and the update on them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torchmetrics import Metric
from transformers import PreTrainedTokenizerBase

from modules.stage import StageModule
from prism_pl.discriminators import Scorer
from prism_pl.discriminators.routing import Usage, balance_loss
from prism_pl.game import (
    DiscriminatorBatch,
    DiscriminatorLossOptions,
    Scored,
    Scores,
    ScoringBatch,
    differentiate,
    make_discriminator_batch,
    negative_indices,
    score,
)
from prism_pl.game.gradient_penalty import penalise_noise, teacher_groups
from prism_pl.game.monitors import (
    add_expert_load,
    add_game_metrics,
    add_image_effect,
    add_pair_metrics,
    blank_images,
    expert_loads,
    game_metrics,
    image_effects,
    pair_metrics,
    swap_images,
)
from prism_pl.metrics.collection import StepMetrics, means
from prism_pl.model.packing import FILLER, nonfinite_segments
from prism_pl.types import Prompt


class DiscriminatorStep:
    """Made once a run.

    Args:
        stage: whose metrics and ranks it uses.
        discriminator: what is trained.
        tokenizer: of the texts.
        options: weights of the loss.
    """

    def __init__(
        self,
        stage: StageModule,
        discriminator: Scorer,
        tokenizer: PreTrainedTokenizerBase,
        options: DiscriminatorLossOptions,
    ) -> None:
        self.stage = stage
        self.discriminator = discriminator
        self.tokenizer = tokenizer
        self.options = options

    def metrics(self) -> dict[str, Metric]:
        """What ``update`` adds to, and what a step adds of the scores of a batch."""
        own = means("discriminator/r1", "discriminator/balance") | self.stage.update_metrics("discriminator")
        if (routing := self.discriminator.routing) is not None:
            own |= expert_loads(routing.reach_CE)
        return own | game_metrics() | pair_metrics("in_batch/") | pair_metrics("replay/")

    def batch(
        self,
        prompts: Sequence[Prompt],
        texts: Sequence[Sequence[str]],
        past: Sequence[tuple[Prompt, Sequence[str]]] = (),
        places: tuple[int, ...] | None = None,
    ) -> DiscriminatorBatch:
        """All that an update looks at: these responses, other prompts' teachers, ``past`` responses.

        ``places`` are the prompts' in the whole batch, if they were dealt.
        """
        negatives = self._in_batch_negatives(prompts, self.options.num_in_batch, places)
        return make_discriminator_batch(
            prompts, texts, self.tokenizer, self.discriminator.reading, in_batch=negatives, past=past, places=places
        )

    def score(self, batch: ScoringBatch) -> Scored:
        """This rank's scores, and how all ranks' tokens used the experts."""
        own = score(self.stage.runs(self.discriminator), batch, self.stage.micro_batches(batch.groups))
        if own.usage is None:
            return own
        summed = (self.stage.all_reduce(part).float() for part in vars(own.usage).values())
        return Scored(own.score_N, Usage(*summed))

    def update(
        self,
        batch: DiscriminatorBatch,
        scored: Scored,
        optimizer: Any,
        options: DiscriminatorLossOptions | None = None,
    ) -> None:
        """One optimizer step. ``scored`` is under the present weights; ``options`` are those of the run by default."""
        stage, options = self.stage, options or self.options
        num_pairs = stage.all_reduce(batch.num_pairs())
        leaf_N = scored.score_N.clone().requires_grad_()
        loss = batch.loss(leaf_N, num_pairs, options, stage.whole_rows)
        (gradient_N,) = torch.autograd.grad(loss, leaf_N)
        usage, routing = scored.usage, self.discriminator.routing
        balance = None
        if usage is not None and routing is not None:
            reach_CE = routing.reach_CE.to(stage.device)
            balance = lambda part: options.balance_weight * balance_loss(part, usage, reach_CE)  # noqa: E731
            stage.metrics.add("discriminator/balance", balance_loss(usage, usage, reach_CE))
            add_expert_load(usage, reach_CE, stage.metrics)
        groups = batch.scoring.groups
        suspects = nonfinite_segments(scored.score_N, torch.arange(len(scored.score_N)), groups)
        backward = partial(stage.backward_share, suspects=suspects)
        micro_batches = stage.micro_batches(groups)
        differentiate(
            stage.runs(self.discriminator),
            batch.scoring,
            gradient_N,
            micro_batches,
            backward,
            balance,
            stage.backward_filler,
        )
        if options.r1_weight:
            self._add_gradient_penalty(batch.scoring, options)
        stage.apply_gradients(optimizer, "discriminator")

    def heldout_metrics(self, prefix: str) -> dict[str, Metric]:
        """What ``add_heldout`` adds to."""
        return game_metrics(prefix) | pair_metrics(f"{prefix}in_batch/") | image_effects("swap", "blank")

    def add_heldout(
        self, prompts: Sequence[Prompt], texts: Sequence[Sequence[str]], metrics: StepMetrics, prefix: str
    ) -> None:
        """Gaps and accuracy on prompts that no stage trains on, and what becomes of them when the images are wrong."""
        negatives = self._in_batch_negatives(prompts, 1)

        def scores_of(viewed: Sequence[Prompt]) -> tuple[Scores, Scores]:
            reading = self.discriminator.reading
            batch = make_discriminator_batch(viewed, texts, self.tokenizer, reading, in_batch=negatives)
            score_N = self.score(batch.scoring).score_N
            return batch.fresh(score_N), batch.in_batch(score_N)

        scores = scores_of(prompts)
        add_game_metrics(scores[0], metrics, prefix)
        add_pair_metrics(scores[1], metrics, f"{prefix}in_batch/")
        swapped = swap_images(prompts, [[text for _, text in others] for others in negatives])
        for kind, viewed in (("swap", swapped), ("blank", blank_images(prompts))):
            add_image_effect(prompts, viewed, scores, scores_of(viewed), kind, metrics)

    def _in_batch_negatives(
        self, prompts: Sequence[Prompt], count: int, places: tuple[int, ...] | None = None
    ) -> list[list[tuple[int, str]]]:
        """``count`` other prompts' teachers for each of this rank's prompts, with their places in the whole batch.

        Chosen over the whole batch: sharding changes nothing.
        """
        if not count:
            return []  # without asking the other ranks
        own = self.stage.places(len(prompts)) if places is None else places
        taught = self.stage.whole_batch([(prompt.teacher or "", prompt.image_paths) for prompt in prompts], own)
        teachers = [teacher for teacher, _ in taught]
        everyone = negative_indices(teachers, [images for _, images in taught], count)
        return [[(q, teachers[q] if q >= 0 else "") for q in everyone[place]] for place in own]

    def _add_gradient_penalty(self, batch: ScoringBatch, options: DiscriminatorLossOptions) -> None:
        """Backward of the approximate R1 penalty."""
        stage, groups = self.stage, teacher_groups(batch)
        total = float(stage.all_reduce(float(2 * len(groups))))
        for packed, is_filler in stage.micro_batches(groups):
            own, backward = ((FILLER,), stage.backward_filler) if is_filler else (groups, stage.backward_share)
            square_B = penalise_noise(
                stage.runs(self.discriminator), packed, own, options.r1_noise, options.r1_weight / total, backward,
                "r1", stage.trainer.global_step,
            )  # fmt: skip
            if not is_filler:
                stage.metrics.add("discriminator/r1", square_B)
