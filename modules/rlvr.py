"""Stage 3: reinforcement learning with verifiable rewards."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torchmetrics import Metric

from modules.dealing import deal_rollouts, dealt_rows, group_tokens
from modules.policy_step import PolicyStep
from modules.stage import StageModule
from prism_pl.algorithms import Algorithm, Outcomes, RewardTerm
from prism_pl.algorithms.importance import MismatchOptions
from prism_pl.algorithms.inputs import has_signal
from prism_pl.algorithms.policy_update import Advantages, ReuseOptions, add_response_metrics, response_metrics
from prism_pl.contracts import Exportable
from prism_pl.metrics.collection import means, sums
from prism_pl.metrics.timing import seconds, timed
from prism_pl.model.policy import PolicyOptions
from prism_pl.rewards import Graded, Grader, Reward
from prism_pl.runs.samples import make_samples
from prism_pl.types import PromptBatch, Rollouts


class RLVRModule(StageModule):
    """Policy gradient on a weighted sum of rewards; the algorithm is a class of its own.

    Args:
        policy: the aligned (or SFT) model.
        algorithm: ``GRPO``, ``DAPO``, ``GSPO``, ``DrGRPO``, ``RLOO``, ``ReinforcePlusPlus``, ``CISPO``, ``SAPO``.
        rewards: parts of the reward, each with its weight.
        optimizer: ``class_path`` and ``init_args``.
        reference: the model that the algorithm's divergence is taken from; null is the policy at the start. It is only
            loaded if the algorithm has a ``kl_weight``.
        reuse: policy updates on each rollout batch.
        mismatch: correction for the difference between engine and trainer.
    """

    watched = ("reward/total", "reward/accuracy", "rollout/tokens_per_second")

    def __init__(
        self,
        policy: PolicyOptions,
        algorithm: Algorithm,
        rewards: list[Reward],
        optimizer: OptimizerCallable,
        reference: str | None = None,
        reuse: ReuseOptions = ReuseOptions(),  # noqa: B008 (frozen)
        mismatch: MismatchOptions = MismatchOptions(),  # noqa: B008
        **shared: Any,
    ) -> None:
        super().__init__(optimizer, **shared)
        self.policy_options = policy
        self.policy_path = policy.path
        self.reference_path = reference or policy.path
        self.algorithm = algorithm
        self.grade = Grader(rewards)
        self.reuse = reuse
        self.mismatch = mismatch

    @property
    def max_resampling(self) -> int:
        return self.algorithm.max_resampling

    @property
    def corrects_mismatch(self) -> bool:
        return self.mismatch.action != "off"

    def updates_in(self, batches: int) -> int:
        return batches * self.reuse.updates

    def build(self) -> None:
        self.policy = self.policy_options.build("model.policy", as_stored=True)
        self.prepare(self.policy)
        self.policy_step = PolicyStep(
            self, self.policy, self.algorithm, self.reuse, self.mismatch, self.reference_path, "model.reference"
        )

    def step_metrics(self) -> dict[str, Metric]:
        rewards = [f"reward/{reward.name}" for reward in self.grade.rewards]
        own = self.policy_step.metrics() | response_metrics() | seconds("reward", "reference", "policy_update")
        counted = [f"reward/{reward.name}/{counter}" for reward in self.grade.rewards for counter in reward.counters]
        return own | means("reward/total", "reward/shaped", *rewards) | sums(*counted)

    def configure_optimizers(self) -> Any:
        optimizer, schedule = self.make_optimizer(self.policy)
        return [optimizer], [schedule]

    def training_step(self, batch: PromptBatch, batch_idx: int) -> dict[str, Any]:
        assert batch.rollouts is not None
        metrics = self.metrics
        with timed("reward", metrics):
            graded = self.grade(batch.rollouts)
        rollouts, graded = self._deal(batch.rollouts, graded)
        goal_PG = self.algorithm.shape(graded.total_PG, rollouts.length_PG, rollouts.sampling.max_new_tokens)
        terms = [RewardTerm(r.weight * graded.parts[r.name], r.weight) for r in self.grade.rewards]
        terms.append(RewardTerm(goal_PG - graded.total_PG, self.algorithm.overlong_penalty))
        reference = old = None
        if self.algorithm.uses_reference:
            with timed("reference", metrics):
                reference = self.policy_step.reference_logprobs(rollouts)
                if self.algorithm.kl_in == "reward":
                    old = self.response_logprobs(rollouts)
                    loss_PG = self.algorithm.reward_divergence(old, reference).reshape(goal_PG.shape)
                    goal_PG = goal_PG - loss_PG
                    terms.append(RewardTerm(-loss_PG, self.algorithm.kl_weight))
        advantage_PG = self.algorithm.advantages(Outcomes(goal_PG, rollouts.length_PG, self.all_reduce, tuple(terms)))
        with timed("policy_update", metrics):
            self.policy_step.update(rollouts, Advantages(advantage_PG), old, reference)
        metrics.add("reward/total", graded.total_PG)
        metrics.add("reward/shaped", goal_PG)
        for name, part_PG in graded.parts.items():
            metrics.add(f"reward/{name}", part_PG)
        for reward in self.grade.rewards:
            for counter, count in reward.take_counts().items():
                metrics.add(f"reward/{reward.name}/{counter}", count)
        add_response_metrics(rollouts, advantage_PG, metrics)
        self.report(metrics)
        columns = {"reward": graded.total_PG} | {n: part for n, part in graded.parts.items() if n == "accuracy"}
        return {"samples": make_samples(rollouts, advantage_PG, columns), "places": rollouts.places}

    def _deal(self, rollouts: Rollouts, graded: Graded) -> tuple[Rollouts, Graded]:
        """Shared out by the tokens of the groups that are learnt from: one whose rewards are all equal costs nothing."""
        everything = self.algorithm.needs_all_rows or self.algorithm.uses_reference
        tokens = group_tokens(rollouts, None if everything else has_signal(graded.total_PG))
        dealt = deal_rollouts(self, rollouts, tokens, self.reuse.mini_batches)
        parts = {name: dealt_rows(self, part_PG, dealt) for name, part_PG in graded.parts.items()}
        return dealt, Graded(dealt_rows(self, graded.total_PG, dealt), parts)

    def usable_groups(self, rollouts: Rollouts) -> torch.Tensor:
        """True for the groups (P,) that the algorithm would learn from."""
        return self.algorithm.keeps(self.grade(rollouts).total_PG)

    def response_logprobs(self, rollouts: Rollouts) -> dict[int, torch.Tensor]:
        return self.policy_step.logprobs(rollouts)

    def policy_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        return self.policy.weights()

    def exports(self) -> dict[str, Exportable]:
        return {"model": self.policy}
