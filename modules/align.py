"""Stage 2b: the policy plays against the discriminator, on its own rollouts (arXiv 2604.28123, section 3.2)."""

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from transformers import AutoTokenizer

from modules.judge_step import add_game_metrics, score_trial, update_discriminator
from modules.policy_step import add_response_metrics, make_samples, response_logprobs, update_policy
from modules.stage import StageModule
from prism_pl.algorithms import GRPO
from prism_pl.discriminator import MixtureDiscriminator
from prism_pl.folders import model_folder
from prism_pl.game import adversarial_advantages, arrange, make_trial
from prism_pl.metrics import Means
from prism_pl.options import FreezeOptions, ScheduleOptions
from prism_pl.policy import Policy
from prism_pl.timing import timed
from prism_pl.types import PromptBatch, Sample


class AdversarialAlignModule(StageModule):
    """Manual optimization with two optimizers: each step the discriminator and the policy learn from the same rollouts.

    The policy's advantages come from the scores before the discriminator's update.

    Args:
        policy: the SFT model.
        discriminator: the warmed-up discriminator.
        discriminator_optimizer: its optimizer; the rate is constant.
        alpha: weight of the perception expert; the reasoning expert has the rest.
        format_penalty: what a malformed response's advantage is, negated.
        score_penalty: weight of the mean squared score in the discriminator's loss.
        balance_weight: weight of the router's load-balancing loss.
        updates_per_batch: policy updates on each rollout batch.
        importance_cap: cap of the importance weights between engine and trainer.
        freeze: parts of the policy that are not trained.
    """

    watched = ("reward_gap/perception", "reward_gap/reasoning", "format_rate", "rollout/tokens_per_second")
    max_resampling = 0

    def __init__(
        self,
        policy: str,
        discriminator: str,
        optimizer: OptimizerCallable,
        discriminator_optimizer: OptimizerCallable,
        alpha: float = 0.5,
        format_penalty: float = 1.5,
        score_penalty: float = 0.001,
        balance_weight: float = 0.01,
        updates_per_batch: int = 1,
        importance_cap: float = 2.0,
        schedule: ScheduleOptions = ScheduleOptions(),  # noqa: B008
        freeze: FreezeOptions = FreezeOptions(vision_tower=False, projector=False),  # noqa: B008
        clip_norm: float = 1.0,
        max_tokens: int = 8192,
    ) -> None:
        super().__init__(optimizer, schedule, clip_norm, max_tokens)
        self.policy_name = policy
        self.discriminator_name = discriminator
        self.discriminator_optimizer = discriminator_optimizer
        self.alpha = alpha
        self.format_penalty = format_penalty
        self.score_penalty = score_penalty
        self.balance_weight = balance_weight
        self.updates_per_batch = updates_per_batch
        self.importance_cap = importance_cap
        self.freeze_options = freeze
        self.algorithm = GRPO()

    def configure_model(self) -> None:
        if not hasattr(self, "policy"):
            self.policy = Policy.load(self.policy_name, "model.policy")
            self.policy.freeze(self.freeze_options)
            self.shard_if_needed(self.policy)
            self.discriminator = MixtureDiscriminator.load(self.discriminator_name, "model.discriminator")
            self.shard_if_needed(self.discriminator)
            self.tokenizer = AutoTokenizer.from_pretrained(model_folder(self.policy_name, "model.policy"))

    def configure_optimizers(self) -> Any:
        optimizer, schedule = self.make_optimizer(self.policy, self.optimizer)
        return [optimizer, self.discriminator_optimizer(self.discriminator.parameters())], [schedule]

    @property
    def both_optimizers(self) -> list[Any]:
        """The policy's and the discriminator's."""
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        return optimizers

    def training_step(self, batch: PromptBatch, batch_idx: int) -> dict[str, list[Sample]]:
        means = Means()
        trial = make_trial(batch.prompts, [[r.text for r in group] for group in batch.responses], self.tokenizer)
        with timed("score", means):
            score_N = score_trial(self, self.discriminator, trial)
        scores = arrange(score_N, trial)
        advantage_PG = adversarial_advantages(scores, self.alpha, self.format_penalty)
        with timed("discriminator_update", means):
            update_discriminator(
                self, self.discriminator, self.both_optimizers[1], trial, score_N,
                self.score_penalty, self.balance_weight, means, counted=False,
            )  # fmt: skip
        with timed("policy_update", means):
            update_policy(
                self,
                self.policy,
                batch,
                advantage_PG,
                self.algorithm,
                self.updates_per_batch,
                self.importance_cap,
                means,
            )
        add_game_metrics(scores, means)
        add_response_metrics(batch, means)
        self.report(means)
        score_PGK = scores.policy_PGK.masked_fill(~scores.valid_PG[..., None], torch.nan)
        columns = {"perception": score_PGK[..., 0], "reasoning": score_PGK[..., 1]}
        return {"samples": make_samples(batch, advantage_PG, **columns)}

    def usable_groups(self, batch: PromptBatch) -> torch.Tensor:
        """All groups are used: the scores of a group are hardly ever equal."""
        return torch.ones(len(batch.prompts), dtype=torch.bool)

    def response_logprobs(self, batch: PromptBatch) -> list[torch.Tensor]:
        return response_logprobs(self, self.policy, batch)

    def heldout_metrics(self, batch: PromptBatch, means: Means) -> None:
        """Reward gap and accuracy of both experts on held-out prompts, as the discriminator now is."""
        trial = make_trial(batch.prompts, [[r.text for r in group] for group in batch.responses], self.tokenizer)
        add_game_metrics(arrange(score_trial(self, self.discriminator, trial), trial), means, "heldout/discriminator/")

    def exports(self) -> dict[str, Any]:
        return {"model": self.policy, "discriminator": self.discriminator}
