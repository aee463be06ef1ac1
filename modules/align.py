"""Stage 2b: the policy plays against the discriminator, on its own rollouts (arXiv 2604.28123, section 3.2)."""

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from transformers import AutoTokenizer

from modules.discriminator_step import add_heldout_metrics, in_batch, judge, update_discriminator
from modules.policy_step import add_response_metrics, make_samples, response_logprobs, update_policy
from modules.stage import ScheduleOptions, StageModule
from prism_pl.algorithms import GRPO
from prism_pl.algorithms.importance import MismatchOptions
from prism_pl.algorithms.policy_update import ReuseOptions
from prism_pl.discriminators import Discriminator
from prism_pl.game import (
    AdversarialAdvantage,
    DiscriminatorBatch,
    DiscriminatorLossOptions,
    ReplayBuffer,
    ReplayOptions,
    make_discriminator_batch,
)
from prism_pl.game.monitors import add_game_metrics, add_length_correlation, add_pair_metrics
from prism_pl.hub import model_folder
from prism_pl.metrics.means import Means
from prism_pl.metrics.timing import timed
from prism_pl.model.adapters import LoraOptions
from prism_pl.model.attention import Attention, use_attention
from prism_pl.model.policy import FreezeOptions
from prism_pl.segments import parse_response
from prism_pl.types import PromptBatch, Sample


@dataclass(frozen=True, kw_only=True)
class CadenceOptions:
    """Who learns when, in rollout batches."""

    discriminator_every: int = 1
    """Batches from one update of the discriminator to the next."""
    discriminator_updates: int = 1
    """Its updates on such a batch."""
    policy_delay: int = 0
    """Batches at the start on which only the discriminator learns (GAD, arXiv 2511.10643, takes 10)."""


class AdversarialAlignModule(StageModule):
    """Manual optimization with two optimizers: each step the discriminator and the policy learn from the same rollouts.

    The policy's advantages come from the scores before the discriminator's update.

    Args:
        policy: the SFT model.
        discriminator: its class; ``path`` is the warmed-up folder, null builds a fresh one from the policy.
        advantage: from scores to advantages, ``NormaliseThenMix``, ``MixThenNormalise``, ``MixCentred`` or
            ``ReleasedAdvantage``.
        discriminator_optimizer: its optimizer; the rate is constant.
        objective: weights of the discriminator's loss.
        negatives: past responses that the discriminator is shown again.
        cadence: who learns when.
        reuse: policy updates on each rollout batch.
        mismatch: correction for the difference between engine and trainer.
        freeze: parts of the policy that are not trained.
        lora: adapters that are trained instead of the language model; null trains its weights.
    """

    watched = ("reward_gap/perception", "reward_gap/reasoning", "format_rate", "rollout/tokens_per_second")
    max_resampling = 0

    def __init__(
        self,
        policy: str,
        discriminator: Discriminator,
        advantage: AdversarialAdvantage,
        optimizer: OptimizerCallable,
        discriminator_optimizer: OptimizerCallable,
        objective: DiscriminatorLossOptions = DiscriminatorLossOptions(),  # noqa: B008 (frozen)
        negatives: ReplayOptions = ReplayOptions(),  # noqa: B008
        cadence: CadenceOptions = CadenceOptions(),
        reuse: ReuseOptions = ReuseOptions(),  # noqa: B008
        mismatch: MismatchOptions = MismatchOptions(),  # noqa: B008
        schedule: ScheduleOptions = ScheduleOptions(),  # noqa: B008
        freeze: FreezeOptions = FreezeOptions(vision_tower=False, projector=False),  # noqa: B008
        lora: LoraOptions | None = None,
        clip_norm: float = 1.0,
        max_tokens: int = 8192,
        gradient_checkpointing: bool = False,
        attention: Attention = "shared_prefix",
    ) -> None:
        super().__init__(optimizer, schedule, clip_norm, max_tokens, gradient_checkpointing, attention)
        self.policy_name = policy
        self.discriminator_class = discriminator
        self.advantage = advantage
        self.discriminator_optimizer = discriminator_optimizer
        self.objective = objective
        self.negatives = ReplayBuffer(negatives)
        self.cadence = cadence
        self.reuse = reuse
        self.mismatch = mismatch
        self.freeze_options = freeze
        self.lora = lora
        self.algorithm = GRPO()
        self.batches_done = 0

    def configure_model(self) -> None:
        if not hasattr(self, "policy"):
            self.policy = self.load_policy(self.policy_name, self.freeze_options, self.lora)
            self.discriminator = self.discriminator_class.build(self.policy_name, "model.discriminator")
            use_attention(self.discriminator.model, self.attention)
            self.shard_if_needed(self.discriminator)
            self.tokenizer = AutoTokenizer.from_pretrained(model_folder(self.policy_name, "model.policy"))

    def configure_optimizers(self) -> Any:
        optimizer, schedule = self.make_optimizer(self.policy, self.optimizer)
        trained = [parameter for parameter in self.discriminator.parameters() if parameter.requires_grad]
        return [optimizer, self.discriminator_optimizer(trained)], [schedule]

    @property
    def both_optimizers(self) -> list[Any]:
        """The policy's and the discriminator's."""
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        return optimizers

    def training_step(self, batch: PromptBatch, batch_idx: int) -> dict[str, list[Sample]]:
        means, shown = Means(), self.discriminator_batch(batch)
        with timed("score", means):
            judged = judge(self, self.discriminator, shown.scoring)
        scores = shown.fresh(judged[0])
        advantage_PG = self.advantage(scores)
        delayed = self.batches_done < self.cadence.policy_delay
        if delayed or (self.batches_done + 1) % self.cadence.discriminator_every == 0:
            with timed("discriminator_update", means):
                for again in range(self.cadence.discriminator_updates):
                    judged = judge(self, self.discriminator, shown.scoring) if again else judged
                    update_discriminator(
                        self, self.discriminator, self.both_optimizers[1], shown, judged, self.objective, means,
                        counted=False,
                    )  # fmt: skip
        if not delayed:
            with timed("policy_update", means):
                update_policy(self, self.policy, batch, advantage_PG, self.algorithm, self.reuse, self.mismatch, means)
        self._remember(batch)
        add_game_metrics(scores, means)
        add_pair_metrics(shown.in_batch(judged[0]), means, "in_batch/")
        add_pair_metrics(shown.replay(judged[0]), means, "replay/")
        means.add("advantage/zero_std_groups", (advantage_PG == advantage_PG[:, :1]).all(1).float())
        add_length_correlation(scores, batch.length_PG, means)
        add_response_metrics(batch, means)
        self.report(means)
        score_PGK = scores.policy_PGK.masked_fill(~scores.valid_PG[..., None], torch.nan)
        columns = {"perception": score_PGK[..., 0], "reasoning": score_PGK[..., 1]}
        return {"samples": make_samples(batch, advantage_PG, **columns)}

    def discriminator_batch(self, batch: PromptBatch) -> DiscriminatorBatch:
        """The batch's responses, and what else the discriminator's update looks at."""
        sources = [prompt.source for prompt in batch.prompts]
        share = self.negatives.options.prompts_per_update // self.trainer.world_size
        drawn = self.negatives.draw(share, sources, "replay", self.batches_done, self.global_rank)
        past: Any = self.trainer.datamodule.by_source(list(drawn)) if drawn else []  # type: ignore[attr-defined]
        return make_discriminator_batch(
            batch.prompts,
            batch.texts,
            self.tokenizer,
            self.discriminator.reading,
            in_batch=in_batch(self, batch.prompts, self.objective.num_in_batch),
            past=list(zip(past, drawn.values(), strict=True)),
        )

    def _remember(self, batch: PromptBatch) -> None:
        if self.negatives.options.prompts_per_update:
            well_formed = [[text for text in group if parse_response(text)] for group in batch.texts]
            self.negatives.add([prompt.source for prompt in batch.prompts], well_formed, "keep", self.batches_done)
        self.batches_done += 1

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Every rank has its own buffer; the file is written by the first.
        entries: list[Any] = [self.negatives.entries]
        if self.trainer.world_size > 1:
            entries = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(entries, self.negatives.entries)
        checkpoint["game"] = {"negatives": entries, "batches_done": self.batches_done}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.negatives.entries = checkpoint["game"]["negatives"][self.global_rank]
        self.batches_done = checkpoint["game"]["batches_done"]

    def usable_groups(self, batch: PromptBatch) -> torch.Tensor:
        """All groups are used: the scores of a group are hardly ever equal."""
        return torch.ones(len(batch.prompts), dtype=torch.bool)

    def response_logprobs(self, batch: PromptBatch) -> dict[int, torch.Tensor]:
        return response_logprobs(self, self.policy, batch)

    def heldout_metrics(self, batch: PromptBatch, means: Means) -> None:
        """The game on held-out prompts, as the discriminator now is."""
        prefix = "heldout/discriminator/"
        add_heldout_metrics(self, self.discriminator, batch.prompts, batch.texts, self.tokenizer, means, prefix)

    def exports(self) -> dict[str, Any]:
        return {"model": self.policy, "discriminator": self.discriminator}
