"""Stage 2b: the policy plays against the discriminator, on its own rollouts (arXiv 2604.28123, section 3.2)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torchmetrics import Metric
from transformers import AutoTokenizer

from modules.dealing import deal_rollouts, group_tokens
from modules.discriminator_step import DiscriminatorStep
from modules.policy_step import PolicyStep
from modules.stage import StageModule
from prism_pl.algorithms import GRPO
from prism_pl.algorithms.importance import MismatchOptions
from prism_pl.algorithms.policy_update import Advantages, ReuseOptions, add_response_metrics, response_metrics
from prism_pl.contracts import Exportable, PromptSource, require
from prism_pl.discriminators import Discriminator
from prism_pl.game import (
    AdversarialAdvantage,
    DiscriminatorBatch,
    DiscriminatorLossOptions,
    ReplayBuffer,
    ReplayOptions,
    Scored,
    Scores,
)
from prism_pl.game.monitors import (
    accuracy,
    add_game_metrics,
    add_length_correlation,
    add_pair_metrics,
    length_correlations,
)
from prism_pl.hub import model_folder
from prism_pl.metrics.collection import StepMetrics, means, sums
from prism_pl.metrics.timing import seconds, timed
from prism_pl.model.policy import PolicyOptions
from prism_pl.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt, Share
from prism_pl.runs.samples import make_samples
from prism_pl.segments import caption_end, well_formed
from prism_pl.types import PromptBatch, Rollouts


@dataclass(frozen=True, kw_only=True)
class CadenceOptions:
    """Who learns when, in rollout batches."""

    discriminator_every: PositiveInt = 1
    """Batches from one update of the discriminator to the next."""
    discriminator_updates: PositiveInt = 1
    """Its updates on such a batch."""
    rest_above: Share = 1.0
    """The discriminator rests on a batch whose fresh pairs it tells apart more often than this, in each aspect; 1 is never.
    So it does not run away from a policy that is slow, without a ratio set by hand."""
    policy_delay: NonNegativeInt = 0
    """Batches at the start on which only the discriminator learns (GAD, arXiv 2511.10643, takes 10)."""


class AdversarialAlignModule(StageModule):
    """Manual optimization with two optimizers: each step the discriminator and the policy learn from the same rollouts.

    The policy's advantages come from the scores before the discriminator's update.

    Args:
        policy: the SFT model.
        discriminator: its class; ``path`` is the warmed-up folder, null builds a fresh one from the policy.
        advantage: from scores to advantages, ``NormaliseThenMix``, ``MixThenNormalise``, ``MixCentred`` or
            ``ReleasedAdvantage``.
        optimizer: the policy's.
        discriminator_optimizer: the discriminator's; its rate is constant.
        discriminator_loss: weights of the discriminator's loss.
        replay: past responses that the discriminator is shown again.
        cadence: who learns when.
        reuse: policy updates on each rollout batch.
        mismatch: correction for the difference between engine and trainer.
        kl_weight: weight of the divergence from the policy at the start, as k2: its gradient holds each sampled token back
            by how much likelier it has become. 0, as in the paper, builds no reference.
        entropy_weight: weight of the entropy of each token's distribution, a bonus.
    """

    watched = ("reward_gap/perception", "reward_gap/reasoning", "format_rate", "rollout/tokens_per_second")
    max_resampling = 0

    def __init__(
        self,
        policy: PolicyOptions,
        discriminator: Discriminator,
        advantage: AdversarialAdvantage,
        optimizer: OptimizerCallable,
        discriminator_optimizer: OptimizerCallable,
        discriminator_loss: DiscriminatorLossOptions = DiscriminatorLossOptions(),  # noqa: B008 (frozen)
        replay: ReplayOptions = ReplayOptions(),  # noqa: B008
        cadence: CadenceOptions = CadenceOptions(),
        reuse: ReuseOptions = ReuseOptions(),  # noqa: B008
        mismatch: MismatchOptions = MismatchOptions(),  # noqa: B008
        kl_weight: NonNegativeFloat = 0.0,
        entropy_weight: NonNegativeFloat = 0.0,
        **shared: Any,
    ) -> None:
        super().__init__(optimizer, **shared)
        self.policy_options = policy
        self.policy_path = policy.path
        self.discriminator_class = discriminator
        self.advantage = advantage
        self.discriminator_optimizer = discriminator_optimizer
        self.discriminator_loss = discriminator_loss
        self.replay = ReplayBuffer(replay)
        self.cadence = cadence
        self.reuse = reuse
        self.mismatch = mismatch
        self.algorithm = GRPO(kl_weight=kl_weight, kl_estimator="k2", entropy_weight=entropy_weight)
        self.batches_done = 0

    @property
    def corrects_mismatch(self) -> bool:
        return self.mismatch.action != "off"

    def updates_in(self, batches: int) -> int:
        delayed = max(0, self.cadence.policy_delay - self.batches_done)
        return max(0, batches - delayed) * self.reuse.updates

    def build(self) -> None:
        self.policy = self.policy_options.build("model.policy", as_stored=True)
        self.prepare(self.policy)
        self.policy_step = PolicyStep(
            self, self.policy, self.algorithm, self.reuse, self.mismatch, self.policy_path, "model.policy.path"
        )
        self.discriminator = self.discriminator_class.build(
            self.policy_path, "model.discriminator", prepare=self.prepare, as_stored=True
        )
        tokenizer = AutoTokenizer.from_pretrained(model_folder(self.policy_path, "model.policy.path"))
        self.discriminator_step = DiscriminatorStep(self, self.discriminator, tokenizer, self.discriminator_loss)

    def step_metrics(self) -> dict[str, Metric]:
        own = self.policy_step.metrics() | self.discriminator_step.metrics() | response_metrics()
        own |= sums("score/nonfinite")
        if self.cadence.rest_above < 1:
            own |= means("discriminator/rests")
        return own | length_correlations() | seconds("score", "reference", "discriminator_update", "policy_update")

    def configure_optimizers(self) -> Any:
        optimizer, schedule = self.make_optimizer(self.policy)
        trained = [parameter for parameter in self.discriminator.parameters() if parameter.requires_grad]
        return [optimizer, self.step_together(self.discriminator_optimizer(trained))], [schedule]

    def training_step(self, batch: PromptBatch, batch_idx: int) -> dict[str, Any]:
        assert batch.rollouts is not None
        metrics = self.metrics
        rollouts = deal_rollouts(self, batch.rollouts, group_tokens(batch.rollouts), self.reuse.mini_batches)
        shown = self.discriminator_step.batch(rollouts.prompts, rollouts.texts, self._past(rollouts), rollouts.places)
        with timed("score", metrics):
            scored = self.discriminator_step.score(shown.scoring)
        scores = shown.fresh(scored.score_N)
        self._look_at(scores, rollouts)
        advantage_PG = self.advantage(scores)
        delayed = self.batches_done < self.cadence.policy_delay
        if delayed or self._discriminator_learns(scores):
            with timed("discriminator_update", metrics):
                self._update_discriminator(shown, scored)
        if not delayed:
            reference = None
            if self.algorithm.uses_reference:
                with timed("reference", metrics):
                    reference = self.policy_step.reference_logprobs(rollouts)
            with timed("policy_update", metrics):
                credited = self._credited(rollouts, advantage_PG, self.advantage.after_caption(scores))
                self.policy_step.update(rollouts, credited, reference_logp=reference)
        self._remember(rollouts)
        add_game_metrics(scores, metrics)
        add_pair_metrics(shown.in_batch(scored.score_N), metrics, "in_batch/")
        add_pair_metrics(shown.replay(scored.score_N), metrics, "replay/")
        add_length_correlation(scores, rollouts.length_PG, metrics)
        add_response_metrics(rollouts, advantage_PG, metrics)
        self.report(metrics)
        return {"samples": make_samples(rollouts, advantage_PG, scores.columns), "places": rollouts.places}

    def _credited(self, rollouts: Rollouts, advantage_PG: torch.Tensor, late_PG: torch.Tensor) -> Advantages:
        """The advantages with where each response's caption ends."""
        tokenizer = self.discriminator_step.tokenizer
        ends = [[caption_end(response.token_ids, tokenizer) for response in group] for group in rollouts.responses]
        return Advantages(advantage_PG, late_PG, torch.tensor(ends))

    def _look_at(self, scores: Scores, rollouts: Rollouts) -> None:
        """Counts and names the responses whose score is not finite; all ranks stop alike."""
        size = len(rollouts.responses[0])
        lost = [f"{rollouts.prompts[p].source}, response {g + 1} of {size}" for p, g in scores.lost_PG.nonzero().tolist()]
        self.metrics.add("score/nonfinite", len(lost))
        everyone: list[str] = []
        if self.all_reduce(float(len(lost)), "max"):
            everyone = [name for own in self.gather(lost) for name in own]
        self.guard.scored(self.trainer.global_step, everyone, speaks=self.trainer.is_global_zero)

    def _discriminator_learns(self, scores: Scores) -> bool:
        """The same on all ranks. Without a single pair it learns: there are replay and other prompts' teachers."""
        if (self.batches_done + 1) % self.cadence.discriminator_every:
            return False
        if self.cadence.rest_above == 1:
            return True
        right_MK = accuracy(scores.margin_MK)
        *right_K, num_pairs = self.all_reduce(torch.cat([right_MK.sum(0), right_MK.new_tensor([len(right_MK)])])).tolist()
        learns = any(right <= self.cadence.rest_above * num_pairs for right in right_K)
        self.metrics.add("discriminator/rests", float(not learns))
        return learns

    def _update_discriminator(self, shown: DiscriminatorBatch, scored: Scored) -> None:
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        for again in range(self.cadence.discriminator_updates):
            latest = self.discriminator_step.score(shown.scoring) if again else scored
            self.discriminator_step.update(shown, latest, optimizers[1])

    def _past(self, rollouts: Rollouts) -> list[tuple[Any, list[str]]]:
        """This rank's share of the replayed prompts, with what the policy said to them.

        Drawn from what all ranks have seen, so that nothing depends on how many there are.
        """
        count = self.replay.options.prompts_per_update
        if not count:
            return []  # without asking the other ranks
        sources = self.whole_batch([prompt.source for prompt in rollouts.prompts], rollouts.places)
        drawn = self.replay.draw(count, sources, "replay", self.batches_done, 0)
        own = dict(list(drawn.items())[self.global_rank :: self.trainer.world_size])
        if not own:
            return []
        data = require(self.trainer.datamodule, PromptSource, "model.replay")  # type: ignore[attr-defined]
        return list(zip(data.by_source(list(own)), own.values(), strict=True))

    def _remember(self, rollouts: Rollouts) -> None:
        if self.replay.options.prompts_per_update:
            own = [(p.source, well_formed(texts)) for p, texts in zip(rollouts.prompts, rollouts.texts, strict=True)]
            sources, kept = zip(*self.whole_batch(own, rollouts.places), strict=True)
            self.replay.add(sources, kept, "keep", self.batches_done)
        self.batches_done += 1

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # All ranks hold the same.
        checkpoint["game"] = {"replay": self.replay.entries, "batches_done": self.batches_done}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.replay.entries = checkpoint["game"]["replay"]
        self.batches_done = checkpoint["game"]["batches_done"]

    def usable_groups(self, rollouts: Rollouts) -> torch.Tensor:
        """All groups are used: the scores of a group are hardly ever equal."""
        return torch.ones(len(rollouts.prompts), dtype=torch.bool)

    def response_logprobs(self, rollouts: Rollouts) -> dict[int, torch.Tensor]:
        return self.policy_step.logprobs(rollouts)

    def heldout_metrics(self) -> dict[str, Metric]:
        return self.discriminator_step.heldout_metrics("heldout/discriminator/")

    def add_heldout_metrics(self, rollouts: Rollouts, metrics: StepMetrics) -> None:
        """The game on held-out prompts, as the discriminator now is."""
        self.discriminator_step.add_heldout(rollouts.prompts, rollouts.texts, metrics, "heldout/discriminator/")

    def policy_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        return self.policy.weights()

    def exports(self) -> dict[str, Exportable]:
        return {"model": self.policy, "discriminator": self.discriminator}
