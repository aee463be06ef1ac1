"""Stage 3: reinforcement learning with verifiable rewards."""

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable

from modules.policy_step import add_response_metrics, make_samples, response_logprobs, update_policy
from modules.stage import StageModule
from prism_pl.algorithms import Algorithm
from prism_pl.metrics import Means
from prism_pl.options import FreezeOptions, ScheduleOptions
from prism_pl.rewards import Reward, total_reward
from prism_pl.timing import timed
from prism_pl.types import PromptBatch, Sample


class RLVRModule(StageModule):
    """Policy gradient on a weighted sum of rewards; the algorithm is a class of its own.

    Args:
        policy: the aligned (or SFT) model.
        algorithm: ``GRPO``, ``DAPO``, ``GSPO``: shaping, group filter, advantages and objective.
        rewards: parts of the reward, each with its weight.
        updates_per_batch: policy updates on each rollout batch; with 1 every ratio is 1 and no clip acts.
        importance_cap: cap of the importance weights between engine and trainer; null leaves them out.
        freeze: parts of the policy that are not trained.
    """

    watched = ("reward/total", "reward/accuracy", "rollout/tokens_per_second")

    def __init__(
        self,
        policy: str,
        algorithm: Algorithm,
        rewards: list[Reward],
        optimizer: OptimizerCallable,
        updates_per_batch: int = 1,
        importance_cap: float | None = 2.0,
        schedule: ScheduleOptions = ScheduleOptions(),  # noqa: B008
        freeze: FreezeOptions = FreezeOptions(vision_tower=False, projector=False),  # noqa: B008
        clip_norm: float = 1.0,
        max_tokens: int = 8192,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__(optimizer, schedule, clip_norm, max_tokens, gradient_checkpointing)
        self.policy_name = policy
        self.algorithm = algorithm
        self.rewards = rewards
        self.updates_per_batch = updates_per_batch
        self.importance_cap = importance_cap
        self.freeze_options = freeze

    @property
    def max_resampling(self) -> int:
        return self.algorithm.max_resampling

    def configure_model(self) -> None:
        if not hasattr(self, "policy"):
            self.policy = self.load_policy(self.policy_name, self.freeze_options)

    def configure_optimizers(self) -> Any:
        optimizer, schedule = self.make_optimizer(self.policy, self.optimizer)
        return [optimizer], [schedule]

    def training_step(self, batch: PromptBatch, batch_idx: int) -> dict[str, list[Sample]]:
        means = Means()
        with timed("reward", means):
            reward_PG, parts = total_reward(self.rewards, batch)
            advantage_PG = self.algorithm.advantages(self.shaped(reward_PG, batch))
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
        means.add("reward/total", reward_PG)
        means.add("reward/groups_without_signal", (advantage_PG == 0).all(dim=1).float())
        for name, part_PG in parts.items():
            means.add(f"reward/{name}", part_PG)
        add_response_metrics(batch, means)
        self.report(means)
        columns = {"reward": reward_PG} | {name: parts[name] for name in parts if name == "accuracy"}
        return {"samples": make_samples(batch, advantage_PG, **columns)}

    def shaped(self, reward_PG: torch.Tensor, batch: PromptBatch) -> torch.Tensor:
        """The reward as the algorithm shapes it by length."""
        return self.algorithm.shape(reward_PG, batch.length_PG, batch.max_new_tokens)

    def usable_groups(self, batch: PromptBatch) -> torch.Tensor:
        """True for the groups (P,) that the algorithm would learn from."""
        return self.algorithm.keeps(total_reward(self.rewards, batch)[0])

    def response_logprobs(self, batch: PromptBatch) -> list[torch.Tensor]:
        return response_logprobs(self, self.policy, batch)

    def exports(self) -> dict[str, Any]:
        return {"model": self.policy}
