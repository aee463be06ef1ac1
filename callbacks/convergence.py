"""When to stop: is the policy still told from the teacher by a discriminator that has never seen it?"""

import logging
from typing import Any

import lightning as L
import torch

from callbacks.every import EveryUpdates
from callbacks.heldout import HeldoutPrompts, rollout_of
from prism_pl.contracts import PolicyStage, require
from prism_pl.data.files import DataSource
from prism_pl.discriminators import Discriminator
from prism_pl.drift import CLOUD_DISTANCES, COUNT_DISTANCES, ResponseEncoder, counted, measured, together
from prism_pl.game import TwoSampleOptions, make_scoring_batch, two_sample_accuracy
from prism_pl.heartbeat import within
from prism_pl.metrics.collection import StepMetrics, local, means
from prism_pl.model.sharding import move
from prism_pl.ranges import PositiveInt, Share
from prism_pl.seeds import run_seed
from prism_pl.types import ASPECTS, Rollouts, SamplingOptions

_log = logging.getLogger(__name__)


class ConvergenceProbe(L.Callback):
    """Every so many updates: a fresh discriminator's accuracy, a last-tokens probe, and distances to the teacher.

    ``convergence/fresh_accuracy_*``: a two-sample test on held-out pairs (50 %: alike). ``convergence/last_tokens_*``: the
    same for a discriminator that sees only the end of each segment; it must stay near 50 %, or the roles leak.
    ``convergence/tv_*``, ``w1_*``, ``kl_*``, ``js_*``: how far items, steps, lengths and words are from the teacher's. Each
    with ``_floor``, the same between the teachers of every second prompt and those of the others.

    Args:
        path: prompts with teachers that no stage trains on.
        every: probes at each multiple of so many updates.
        discriminator: class of the fresh discriminator, built from the model the stage started from.
        num_prompts: half of them train it, half of them test it; at least two a device.
        max_new_tokens: length limit of a response.
        max_prompt_tokens: limit of a prompt, images included.
        last_tokens: what the last-tokens probe sees.
        training: how the fresh discriminator is trained.
        encoder: also compares the responses' embeddings by it, with one more forward pass of its network.
        stop_below: ends the stage once both aspects' fresh accuracy is at or below it; null never does.
    """

    def __init__(
        self,
        path: str | DataSource,
        every: PositiveInt,
        discriminator: Discriminator,
        max_new_tokens: PositiveInt,
        num_prompts: PositiveInt = 256,
        max_prompt_tokens: PositiveInt = 2048,
        last_tokens: PositiveInt = 4,
        training: TwoSampleOptions = TwoSampleOptions(),  # noqa: B008 (frozen)
        encoder: ResponseEncoder | None = None,
        stop_below: Share | None = None,
    ) -> None:
        self.path = path
        self._cadence = EveryUpdates(every)
        self.discriminator = discriminator
        self.num_prompts = num_prompts
        self.max_prompt_tokens = max_prompt_tokens
        self.last_tokens = last_tokens
        self.training = training
        self.encoder = encoder
        self.stop_below = stop_below
        self.sampling = SamplingOptions(max_new_tokens=max_new_tokens, group_size=1)
        self._reached = False
        """Whether ``stop_below`` was."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._stage = require(pl_module, PolicyStage, "ConvergenceProbe")
        self._prompts = HeldoutPrompts(
            self.path, "ConvergenceProbe.path", self._stage.policy_path, self.max_prompt_tokens, ("teacher",)
        )
        # A fresh discriminator learns on one half of them and is tested on the other.
        self._prompts.check_shares(self.num_prompts, "ConvergenceProbe.num_prompts", trainer.world_size, each=2)
        self._prompt_encoder = self._prompts.encoder
        self._ready_engine = rollout_of(trainer, "ConvergenceProbe").ready_engine

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        fresh = (f"convergence/{name}_{aspect}" for name in ("fresh_accuracy", "last_tokens") for aspect in ASPECTS)
        counts = {
            f"convergence/{name}{role}": local(own.metric)
            for name, own in COUNT_DISTANCES.items()
            for role in ("", "_floor")
        }
        clouds = (f"convergence/{name}{role}" for name in CLOUD_DISTANCES for role in ("", "_floor"))
        self._metrics = StepMetrics(means(*fresh, *clouds) | counts)
        self._cadence.restart(trainer.global_step)
        if trainer.global_step == 0:
            self._probe(trainer, pl_module.device)
        if self._reached and self.stop_below is not None:
            # The run was killed in its last work: it has no update to make.
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._cadence.is_due(trainer.global_step):
            self._probe(trainer, pl_module.device)

    @within("convergence probe")
    def _probe(self, trainer: Any, device: torch.device) -> None:
        engine = self._ready_engine()
        engine.take(self._stage.policy_weights(), trainer.global_step)
        rows = self._prompts.rows[: self.num_prompts][trainer.global_rank :: trainer.world_size]
        rollouts = engine.answer(self._prompts.encode(rows), self.sampling, run_seed(), "convergence")
        self._two_samples(rollouts, device)
        self._distances(rollouts, range(trainer.global_rank, self.num_prompts, trainer.world_size))
        if self.encoder is not None:
            self._clouds(rollouts, self.encoder, device)
        metrics = self._stage.report(self._metrics)
        fresh = [metrics.get(f"convergence/fresh_accuracy_{aspect}") for aspect in ASPECTS]
        if self.stop_below is not None and all(value is not None and value <= self.stop_below for value in fresh):
            _log.warning(
                "Update %d: a fresh discriminator is right in %.1f %% (perception) and %.1f %% (reasoning) of held-out "
                "pairs, at most stop_below; alignment ends here.",
                trainer.global_step, *(100 * value for value in fresh if value is not None),
            )  # fmt: skip
            self._reached = trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"reached": self._reached}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._reached = state_dict["reached"]

    def _two_samples(self, rollouts: Rollouts, device: torch.device) -> None:
        """One network for all ranks, which learns from half of each one's share; each tests it on the other half."""
        half = len(rollouts.prompts) // 2
        for name, last in (("fresh_accuracy", None), ("last_tokens", self.last_tokens)):
            # A network of its own each time: nothing it learns may stay.
            scorer = self.discriminator.build(
                self._stage.policy_path, "ConvergenceProbe.discriminator", prepare=self._stage.prepare, as_stored=True
            )
            move(scorer, device)
            training, testing = (
                make_scoring_batch(
                    rollouts.prompts[part], rollouts.texts[part], self._prompt_encoder.tokenizer, scorer.reading, last
                )
                for part in (slice(half), slice(half, None))
            )
            result_MK = two_sample_accuracy(scorer, training, testing, self.training)
            for k, aspect in enumerate(ASPECTS):
                self._metrics.add(f"convergence/{name}_{aspect}", result_MK[:, k])

    def _distances(self, rollouts: Rollouts, places: range) -> None:
        """Responses against the same prompts' teachers; and these against each other, for what no drift would give."""
        taught = [counted(text, len(self._prompt_encoder.response_ids(text))) for text in _teachers(rollouts)]
        said = [counted(one.text, len(one.token_ids)) for one in rollouts.flat_responses]
        # By the prompts' places among those of all ranks, so that the floor is the same on any number of them.
        even, odd = ([one for one, place in zip(taught, places, strict=False) if place % 2 == rest] for rest in (0, 1))
        for name, own in COUNT_DISTANCES.items():
            for role, policy, teacher in (("", said, taught), ("_floor", even, odd)):
                self._metrics.add(
                    f"convergence/{name}{role}", together(policy, own.feature), together(teacher, own.feature)
                )

    def _clouds(self, rollouts: Rollouts, encoder: ResponseEncoder, device: torch.device) -> None:
        """Every rank embeds its own responses and compares those of all."""
        texts = [*(one.text for one in rollouts.flat_responses), *_teachers(rollouts)]
        point_NH = encoder.embed(texts, self._stage.policy_path, device)
        pairs = self._stage.whole_batch(list(zip(*point_NH.chunk(2), strict=True)))
        said, taught = (torch.stack(points) for points in zip(*pairs, strict=True))
        for name, kind in CLOUD_DISTANCES.items():
            for role, policy, teacher in (("", said, taught), ("_floor", taught[::2], taught[1::2])):
                value = measured(kind(), policy, teacher)
                if value is not None:
                    self._metrics.add(f"convergence/{name}{role}", value)


def _teachers(rollouts: Rollouts) -> list[str]:
    return [prompt.teacher or "" for prompt in rollouts.prompts]
