"""Stage 2a: the discriminator learns to tell the teacher from the SFT policy, before the game starts."""

from dataclasses import replace
from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torchmetrics import Metric
from transformers import AutoTokenizer

from modules.discriminator_step import DiscriminatorStep
from modules.stage import StageModule
from modules.updates import ScheduleOptions
from prism_pl.contracts import Exportable
from prism_pl.discriminators import Discriminator
from prism_pl.game import DiscriminatorLossOptions
from prism_pl.game.monitors import add_game_metrics, add_pair_metrics
from prism_pl.hub import model_folder
from prism_pl.metrics.collection import StepMetrics
from prism_pl.metrics.timing import seconds, timed
from prism_pl.model.policy import PolicySource
from prism_pl.ranges import NonNegativeInt
from prism_pl.types import Pair


class DiscriminatorModule(StageModule):
    """Builds a discriminator from a dense model and trains it on pairs with the Bradley-Terry loss.

    Args:
        policy: the SFT model, a dense Qwen3-VL; the discriminator is built from it.
        discriminator: ``DedicatedExpertsDiscriminator``, ``SharedMixtureDiscriminator``, ``DenseDiscriminator`` or
            ``TextOnlyDiscriminator``.
        optimizer: ``class_path`` and ``init_args``.
        discriminator_loss: weights of the loss.
        in_batch_first: updates at the start that see in-batch negatives alone. A discriminator that can tell by style
            before it looks hardly ever learns to look (docs/alignment.md).
        schedule: the learning rate over updates.
    """

    watched = ("accuracy/perception", "accuracy/reasoning", "reward_gap/perception", "reward_gap/reasoning")

    def __init__(
        self,
        policy: PolicySource,
        discriminator: Discriminator,
        optimizer: OptimizerCallable,
        discriminator_loss: DiscriminatorLossOptions = DiscriminatorLossOptions(),  # noqa: B008 (frozen)
        in_batch_first: NonNegativeInt = 0,
        schedule: ScheduleOptions = ScheduleOptions(kind="cosine", warmup_ratio=0.1),  # noqa: B008
        **shared: Any,
    ) -> None:
        super().__init__(optimizer, schedule, **shared)
        self.policy_path = policy.path
        self.discriminator_class = discriminator
        self.discriminator_loss = discriminator_loss
        self.in_batch_first = in_batch_first

    def build(self) -> None:
        self.discriminator = self.discriminator_class.build(
            self.policy_path, "model.discriminator", prepare=self.prepare, as_stored=True
        )
        tokenizer = AutoTokenizer.from_pretrained(model_folder(self.policy_path, "model.policy.path"))
        self.step = DiscriminatorStep(self, self.discriminator, tokenizer, self.discriminator_loss)

    def step_metrics(self) -> dict[str, Metric]:
        return self.step.metrics() | seconds("score", "update")

    def configure_optimizers(self) -> Any:
        optimizer, schedule = self.make_optimizer(self.discriminator)
        return [optimizer], [schedule]

    def training_step(self, batch: list[Pair], batch_idx: int) -> None:
        metrics, shown = self.metrics, self.step.batch([pair.prompt for pair in batch], [[pair.policy] for pair in batch])
        with timed("score", metrics):
            scored = self.step.score(shown.scoring)
        add_game_metrics(shown.fresh(scored.score_N), metrics)
        add_pair_metrics(shown.in_batch(scored.score_N), metrics, "in_batch/")
        without_policy = self.trainer.global_step < self.in_batch_first
        options = replace(self.discriminator_loss, policy_weight=0.0) if without_policy else self.discriminator_loss
        with timed("update", metrics):
            self.step.update(shown, scored, self.main_optimizer, options)
        self.report(metrics)

    def on_validation_epoch_start(self) -> None:
        self._heldout = StepMetrics(self.step.heldout_metrics("heldout/"))

    def validation_step(self, batch: list[Pair], batch_idx: int) -> None:
        prompts, texts = [pair.prompt for pair in batch], [[pair.policy] for pair in batch]
        self.step.add_heldout(prompts, texts, self._heldout, "heldout/")

    def on_validation_epoch_end(self) -> None:
        self.report(self._heldout)

    def exports(self) -> dict[str, Exportable]:
        return {"model": self.discriminator}
