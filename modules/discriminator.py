"""Stage 2a: the discriminator learns to tell the teacher from the SFT policy, before the game starts."""

from dataclasses import replace
from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from transformers import AutoTokenizer

from modules.discriminator_step import add_heldout_metrics, in_batch, judge, update_discriminator
from modules.stage import ScheduleOptions, StageModule
from prism_pl.discriminators import Discriminator
from prism_pl.game import DiscriminatorBatch, DiscriminatorLossOptions, make_discriminator_batch
from prism_pl.game.monitors import add_game_metrics, add_pair_metrics
from prism_pl.hub import model_folder
from prism_pl.metrics.means import Means
from prism_pl.metrics.timing import timed
from prism_pl.model.attention import Attention, use_attention
from prism_pl.types import Pair


class DiscriminatorModule(StageModule):
    """Builds a discriminator from a dense model and trains it on pairs with the Bradley-Terry loss.

    Args:
        base: the dense Qwen3-VL that it is built from, and whose processor reads the data.
        discriminator: ``DedicatedExpertsDiscriminator``, ``SharedMixtureDiscriminator``, ``DenseDiscriminator`` or
            ``TextOnlyDiscriminator``.
        objective: weights of the loss.
        in_batch_first: updates at the start that see in_batch pairs alone. A discriminator that can tell by style before
            it looks hardly ever learns to look (docs/alignment.md).
    """

    watched = ("accuracy/perception", "accuracy/reasoning", "reward_gap/perception", "reward_gap/reasoning")

    def __init__(
        self,
        base: str,
        discriminator: Discriminator,
        optimizer: OptimizerCallable,
        objective: DiscriminatorLossOptions = DiscriminatorLossOptions(),  # noqa: B008 (frozen)
        in_batch_first: int = 0,
        schedule: ScheduleOptions = ScheduleOptions(kind="cosine", warmup_ratio=0.1),  # noqa: B008
        clip_norm: float = 1.0,
        max_tokens: int = 8192,
        attention: Attention = "shared_prefix",
    ) -> None:
        super().__init__(optimizer, schedule, clip_norm, max_tokens, attention=attention)
        self.policy_name = base
        self.discriminator_class = discriminator
        self.objective = objective
        self.in_batch_first = in_batch_first

    def configure_model(self) -> None:
        if not hasattr(self, "discriminator"):
            self.discriminator = self.discriminator_class.build(self.policy_name, "model.discriminator")
            use_attention(self.discriminator.model, self.attention)
            self.shard_if_needed(self.discriminator)
            self.tokenizer = AutoTokenizer.from_pretrained(model_folder(self.policy_name, "model.base"))

    def configure_optimizers(self) -> Any:
        optimizer, schedule = self.make_optimizer(self.discriminator, self.optimizer)
        return [optimizer], [schedule]

    def discriminator_batch(self, batch: list[Pair]) -> DiscriminatorBatch:
        """The pairs as prompts with one response each."""
        prompts, responses = [pair.prompt for pair in batch], [[pair.policy] for pair in batch]
        wrong = in_batch(self, prompts, self.objective.num_in_batch)
        return make_discriminator_batch(prompts, responses, self.tokenizer, self.discriminator.reading, in_batch=wrong)

    def training_step(self, batch: list[Pair], batch_idx: int) -> None:
        means, shown = Means(), self.discriminator_batch(batch)
        with timed("score", means):
            judged = judge(self, self.discriminator, shown.scoring)
        add_game_metrics(shown.fresh(judged[0]), means)
        add_pair_metrics(shown.in_batch(judged[0]), means, "in_batch/")
        alone = self.trainer.global_step < self.in_batch_first
        objective = replace(self.objective, policy_weight=0.0) if alone else self.objective
        with timed("update", means):
            update_discriminator(
                self, self.discriminator, self.main_optimizer, shown, judged, objective, means, counted=True
            )
            self.main_schedule.step()
        self.report(means)

    def on_validation_epoch_start(self) -> None:
        self._heldout = Means()

    def validation_step(self, batch: list[Pair], batch_idx: int) -> None:
        prompts, texts = [pair.prompt for pair in batch], [[pair.policy] for pair in batch]
        add_heldout_metrics(self, self.discriminator, prompts, texts, self.tokenizer, self._heldout, "heldout/")

    def on_validation_epoch_end(self) -> None:
        self.report(self._heldout)

    def exports(self) -> dict[str, Any]:
        return {"model": self.discriminator}
