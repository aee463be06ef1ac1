"""Stage 3: reinforcement learning with verifiable rewards."""

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable

from modules.policy_step import add_response_metrics, make_samples, response_logprobs, update_policy
from modules.stage import ScheduleOptions, StageModule
from prism_pl.algorithms import Algorithm, Outcomes
from prism_pl.algorithms.importance import MismatchOptions
from prism_pl.algorithms.policy_update import ReuseOptions
from prism_pl.metrics.means import Means
from prism_pl.metrics.timing import timed
from prism_pl.model.adapters import LoraOptions
from prism_pl.model.attention import Attention
from prism_pl.model.policy import FreezeOptions
from prism_pl.rewards import Reward, check_rewards, total_reward
from prism_pl.types import PromptBatch, Sample


class RLVRModule(StageModule):
    """Policy gradient on a weighted sum of rewards; the algorithm is a class of its own.

    Args:
        policy: the aligned (or SFT) model.
        algorithm: ``GRPO``, ``DAPO``, ``GSPO``, ``DrGRPO``, ``RLOO``, ``ReinforcePlusPlus``, ``CISPO``, ``SAPO``.
        rewards: parts of the reward, each with its weight.
        reference: the model that the algorithm's divergence is taken from; null is the policy at the start. It is only
            loaded if the algorithm has a ``kl_weight``.
        reuse: policy updates on each rollout batch.
        mismatch: correction for the difference between engine and trainer.
        freeze: parts of the policy that are not trained.
        lora: adapters that are trained instead of the language model; null trains its weights.
    """

    watched = ("reward/total", "reward/accuracy", "rollout/tokens_per_second")

    def __init__(
        self,
        policy: str,
        algorithm: Algorithm,
        rewards: list[Reward],
        optimizer: OptimizerCallable,
        reference: str | None = None,
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
        check_rewards(rewards)
        self.policy_name = policy
        self.reference_name = reference or policy
        self.algorithm = algorithm
        self.rewards = rewards
        self.reuse = reuse
        self.mismatch = mismatch
        self.freeze_options = freeze
        self.lora = lora

    @property
    def max_resampling(self) -> int:
        return self.algorithm.max_resampling

    def configure_model(self) -> None:
        if not hasattr(self, "policy"):
            self.policy = self.load_policy(self.policy_name, self.freeze_options, self.lora)
            if self.algorithm.uses_reference:
                # In a list, which hides it from checkpoints: it never changes.
                self._unsaved = [self.load_reference(self.reference_name)]

    def configure_optimizers(self) -> Any:
        optimizer, schedule = self.make_optimizer(self.policy, self.optimizer)
        return [optimizer], [schedule]

    def training_step(self, batch: PromptBatch, batch_idx: int) -> dict[str, list[Sample]]:
        means = Means()
        with timed("reward", means):
            reward_PG, parts = total_reward(self.rewards, batch)
        goal_PG = self.algorithm.shape(reward_PG, batch.length_PG, batch.max_new_tokens)
        reference = old = None
        if self.algorithm.uses_reference:
            with timed("reference", means):
                reference = response_logprobs(self, self._unsaved[0].to(self.device), batch)
                if self.algorithm.kl_in == "reward":
                    old = self.response_logprobs(batch)
                    goal_PG = goal_PG - self.algorithm.reward_divergence(old, reference).reshape(goal_PG.shape)
        advantage_PG = self.algorithm.advantages(Outcomes(goal_PG, batch.length_PG, self.global_sum))
        with timed("policy_update", means):
            update_policy(
                self, self.policy, batch, advantage_PG, self.algorithm, self.reuse, self.mismatch, means, reference, old
            )
        means.add("reward/total", reward_PG)
        means.add("reward/shaped", goal_PG)
        means.add("reward/zero_std_groups", (advantage_PG == 0).all(dim=1).float())
        for name, part_PG in parts.items():
            means.add(f"reward/{name}", part_PG)
        add_response_metrics(batch, means)
        self.report(means)
        columns = {"reward": reward_PG} | {name: parts[name] for name in parts if name == "accuracy"}
        return {"samples": make_samples(batch, advantage_PG, **columns)}

    def usable_groups(self, batch: PromptBatch) -> torch.Tensor:
        """True for the groups (P,) that the algorithm would learn from."""
        if not self.max_resampling:
            # All of them: grading here would only grade every response twice.
            return torch.ones(len(batch.prompts), dtype=torch.bool)
        return self.algorithm.keeps(total_reward(self.rewards, batch)[0])

    def response_logprobs(self, batch: PromptBatch) -> dict[int, torch.Tensor]:
        return response_logprobs(self, self.policy, batch)

    def exports(self) -> dict[str, Any]:
        return {"model": self.policy}
