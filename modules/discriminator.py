"""Stage 2a: the discriminator learns to tell the teacher from the SFT policy, before the game starts."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from transformers import AutoTokenizer

from modules.judge_step import add_game_metrics, score_trial, update_discriminator
from modules.stage import StageModule
from prism_pl.folders import model_folder
from prism_pl.game import Trial, arrange, make_trial
from prism_pl.metrics import Means
from prism_pl.options import ScheduleOptions
from prism_pl.timing import timed
from prism_pl.types import Pair
from prism_pl.upcycling import upcycle


class DiscriminatorModule(StageModule):
    """Upcycles a dense model into a mixture of experts and trains it on pairs with the Bradley-Terry loss.

    Args:
        base: the dense Qwen3-VL to upcycle.
        num_experts: experts of each feed-forward layer.
        top_k: experts a token is sent to.
        noise: relative noise that breaks the symmetry of the copies.
        seed: of router, heads and noise.
        score_penalty: weight of the mean squared score.
        balance_weight: weight of the router's load-balancing loss.
    """

    watched = ("accuracy/perception", "accuracy/reasoning", "reward_gap/perception", "reward_gap/reasoning")

    def __init__(
        self,
        base: str,
        optimizer: OptimizerCallable,
        num_experts: int = 4,
        top_k: int = 2,
        noise: float = 0.01,
        seed: int = 0,
        score_penalty: float = 0.001,
        balance_weight: float = 0.01,
        schedule: ScheduleOptions = ScheduleOptions(kind="cosine", warmup_ratio=0.1),  # noqa: B008
        clip_norm: float = 1.0,
        max_tokens: int = 8192,
    ) -> None:
        super().__init__(optimizer, schedule, clip_norm, max_tokens)
        self.policy_name = base
        self.mixture: dict[str, Any] = {"num_experts": num_experts, "top_k": top_k, "noise": noise, "seed": seed}
        self.score_penalty = score_penalty
        self.balance_weight = balance_weight

    def configure_model(self) -> None:
        if not hasattr(self, "discriminator"):
            self.discriminator = upcycle(self.policy_name, "model.base", **self.mixture)
            self.shard_if_needed(self.discriminator)
            self.tokenizer = AutoTokenizer.from_pretrained(model_folder(self.policy_name, "model.base"))

    def configure_optimizers(self) -> Any:
        optimizer, schedule = self.make_optimizer(self.discriminator, self.optimizer)
        return [optimizer], [schedule]

    def trial(self, batch: list[Pair]) -> Trial:
        """The pairs as a trial with one response a prompt."""
        return make_trial([pair.prompt for pair in batch], [[pair.policy] for pair in batch], self.tokenizer)

    def training_step(self, batch: list[Pair], batch_idx: int) -> None:
        means, trial = Means(), self.trial(batch)
        with timed("score", means):
            score_N = score_trial(self, self.discriminator, trial)
        add_game_metrics(arrange(score_N, trial), means)
        with timed("update", means):
            update_discriminator(
                self, self.discriminator, self.main_optimizer, trial, score_N,
                self.score_penalty, self.balance_weight, means, counted=True,
            )  # fmt: skip
            self.main_schedule.step()
        self.report(means)

    def on_validation_epoch_start(self) -> None:
        self._heldout = Means()

    def validation_step(self, batch: list[Pair], batch_idx: int) -> None:
        trial = self.trial(batch)
        add_game_metrics(arrange(score_trial(self, self.discriminator, trial), trial), self._heldout, "heldout/")

    def on_validation_epoch_end(self) -> None:
        self.report(self._heldout)

    def exports(self) -> dict[str, Any]:
        return {"model": self.discriminator}
