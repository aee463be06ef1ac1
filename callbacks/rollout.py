"""Fills each batch with the policy's own responses, and keeps the engine's weights the trainer's: proven, not assumed."""

import logging
import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import lightning as L
import torch

from callbacks.ahead import RolloutsAhead
from callbacks.every import EveryUpdates
from callbacks.finished_first import FinishedFirst
from callbacks.probe import ProbeOptions, bounds, judge
from prism_pl.contracts import PromptSource, RolloutStage, require
from prism_pl.engines import RolloutEngine
from prism_pl.errors import UserError
from prism_pl.metrics.collection import StepMetrics, means
from prism_pl.metrics.timing import seconds, timed
from prism_pl.ranges import NonNegativeInt
from prism_pl.seeds import run_seed
from prism_pl.types import Prompt, PromptBatch, Response, Rollouts, SamplingOptions

_log = logging.getLogger(__name__)
_PROBE_RESPONSES = 4

Group = tuple[Prompt, tuple[Response, ...]]
"""A prompt and its responses."""


@dataclass(frozen=True)
class Entry:
    """A group as ranks hand it on and checkpoints hold it: the prompt by its name, without its images."""

    source: str
    responses: tuple[Response, ...]


class RolloutCallback(L.Callback):
    """Before a step: responses from the engine. After it: the policy's new weights into the engine.

    It asks the module for ``usable_groups`` and ``max_resampling`` and knows neither rewards nor algorithms.

    Args:
        engine: ``VLLMEngine`` or ``TransformersEngine``, a ``ProcessEngine`` with one of them, or a ``VLLMServerEngine``.
        sampling: how responses are sampled.
        probe: the proof that engine and trainer hold the same weights.
        overlap: batches that are sampled ahead, while earlier ones are learnt from, with weights as many batches old at
            most; ``model.mismatch`` corrects for it. 0 samples each batch with the newest weights.
        order: ``given`` learns from each batch's own prompts. ``finished``, with an ``overlap`` of two or more and a
            ``VLLMServerEngine``, from whichever groups are finished first: long responses do not hold up a batch, and new
            weights reach them half-way. A run cannot be repeated to the bit then.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        sampling: SamplingOptions,
        probe: ProbeOptions = ProbeOptions(),  # noqa: B008 (frozen)
        overlap: NonNegativeInt = 0,
        order: Literal["given", "finished"] = "given",
    ) -> None:
        if not sampling.temperature and sampling.group_size > 1:
            raise UserError(
                "RolloutCallback.sampling.temperature: it is 0, which makes all responses of a group the same. Raise it."
            )
        if sampling.top_p < 1:
            raise UserError(
                f"RolloutCallback.sampling.top_p: it is {sampling.top_p}, but the trainer's log-probabilities are those of "
                f"all tokens. Leave it out, or set it to 1."
            )
        if overlap:
            _check_overlap(overlap, engine)
        if order == "finished":
            _check_order(overlap, engine)
        self.engine = engine
        self.sampling = sampling
        self.probe_options = probe
        self.overlap = overlap
        self.order = order
        self._probe_cadence = EveryUpdates(probe.every)
        self._surplus: deque[Entry] = deque()
        """Usable groups that no batch has taken yet, the same on all ranks."""
        self._started = False

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._seed = run_seed()
        self._stage = require(pl_module, RolloutStage, "RolloutCallback")
        self._data = require(trainer.datamodule, PromptSource, "RolloutCallback")
        gaps = ("probe_gap", "probe_gap_mean", "probe_gap_p99")
        names = ["tokens_per_second", *gaps, "usable_groups", "prompts_sampled", "surplus_groups"]
        names += ["staleness"] * bool(self.overlap) + ["early_groups"] * (self.order == "finished")
        self._metrics = StepMetrics(means(*(f"rollout/{name}" for name in names)) | seconds("rollout", "sync"))
        kind = FinishedFirst if self.order == "finished" else RolloutsAhead
        self._ahead = kind(self.overlap, self.engine, self.sampling, self._stage, self._data, self._seed)
        self.engine.check()

    def ready_engine(self) -> RolloutEngine:
        """The engine, started by the first hook that uses it: all that Lightning does to a GPU's memory has gone before."""
        if not self._started:
            self._started = True
            self.engine.start(self._stage.policy_path, self._data.max_prompt_tokens, self.sampling)
        return self.engine

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.ready_engine().take(self._stage.policy_weights(), trainer.global_step)
        self._probed = False

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        # All ranks hold the same.
        checkpoint["surplus"] = [asdict(entry) for entry in self._surplus]
        checkpoint["ahead"] = self._ahead.state()

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._surplus = deque(
            Entry(entry["source"], tuple(Response(**response) for response in entry["responses"]))
            for entry in checkpoint["surplus"]
        )
        self._ahead.load_state(checkpoint.get("ahead", {}))

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: PromptBatch, batch_idx: int) -> None:
        if self._probe_cadence.is_due(trainer.global_step) or not self._probed:
            self._probe(trainer, batch)
        with timed("rollout", self._metrics) as watch, _explained(trainer.global_step):
            batch.rollouts = self._sample(trainer, batch.prompts)
            # After the groups of no use were replaced: they would wait behind it.
            self._ahead.ask(trainer)
        tokens = sum(len(response.token_ids) for response in batch.rollouts.flat_responses)
        self._metrics.add("rollout/tokens_per_second", tokens / (watch.seconds + self._ahead.unseen_seconds))
        if self.overlap:
            ages = [trainer.global_step - response.version for response in batch.rollouts.flat_responses]
            self._metrics.add("rollout/staleness", torch.tensor(ages))
            if self.order == "finished":
                self._metrics.add("rollout/early_groups", self._ahead.early_share)
        else:
            # Nobody asks it before the update's weights are in it.
            self.engine.sleep()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        with timed("sync", self._metrics):
            self.engine.take(self._stage.policy_weights(), trainer.global_step, self._ahead.in_flight)
        self._stage.report(self._metrics)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if self._started:
            self._started = False
            self.engine.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Lightning leaves out ``teardown`` then, and the process may live on: a notebook's does."""
        self.teardown(trainer, pl_module, "fit")

    def _sample(self, trainer: Any, prompts: list[Prompt]) -> Rollouts:
        """Responses to the prompts; groups that the algorithm cannot use are replaced, up to its cap."""
        step = trainer.global_step
        sampled = self._ahead.next(trainer, prompts)
        usable = self._stage.usable_groups(sampled).tolist()
        if not self._stage.max_resampling:
            self._metrics.add("rollout/usable_groups", torch.tensor(usable, dtype=torch.float))
            return sampled
        replaced = self._replace(trainer, step, usable)
        groups: list[Group] = list(zip(sampled.prompts, sampled.responses, strict=True))
        fresh = self._data.by_source([entry.source for entry in replaced.values()]) if replaced else []
        for (own, entry), prompt in zip(replaced.items(), fresh, strict=True):
            groups[own] = prompt, entry.responses
            usable[own] = True
        self._metrics.add("rollout/usable_groups", torch.tensor(usable, dtype=torch.float))
        kept_prompts, responses = zip(*groups, strict=True)
        return Rollouts(kept_prompts, responses, self.sampling)

    def _replace(self, trainer: Any, step: int, usable: list[bool]) -> dict[int, Entry]:
        """Other groups for those of this rank's that are of no use, by their places.

        Replacements come from the surplus of earlier steps first, then from further prompts, as many as the share of usable
        groups so far makes necessary; what is left over is the next steps' surplus. Its responses are older than the
        weights, which the importance weights between engine and trainer account for. When the cap is reached the batch goes
        on with unused groups in it: they carry no gradient, and the run lives. All of it is decided on the whole batch, by
        all ranks alike, so that it does not depend on how many there are.
        """
        rank, world_size, most = trainer.global_rank, trainer.world_size, self._stage.max_resampling
        everyone: list[bool] = self._stage.whole_batch(usable)
        holes = [place for place, good in enumerate(everyone) if not good]
        tried, found = len(everyone), len(everyone) - len(holes)
        replaced: dict[int, Entry] = {}
        for attempt in range(most + 1):
            while holes and self._surplus:
                replaced[holes.pop(0)] = self._surplus.popleft()
            if not holes or attempt == most:
                break
            count = min(len(everyone), math.ceil(len(holes) * tried / max(found, 1)))
            drawn = self._data.draw(count, step, attempt + 1)
            entries = self._stage.whole_batch(self._try(drawn[rank::world_size], step, attempt + 1))
            good = [entry for entry in entries if entry is not None]
            self._surplus.extend(good)
            tried, found = tried + len(entries), found + len(good)
        if holes and trainer.is_global_zero:
            _log.warning(
                "step %d: %d of %d groups still of no use after %d rounds of resampling; going on with them.",
                step, len(holes), len(everyone), most,
            )  # fmt: skip
        while len(self._surplus) > len(everyone):
            self._surplus.popleft()
        self._metrics.add("rollout/prompts_sampled", float(tried))
        self._metrics.add("rollout/surplus_groups", float(len(self._surplus)))
        return {place // world_size: entry for place, entry in replaced.items() if place % world_size == rank}

    def _try(self, sources: list[str], step: int, attempt: int) -> list[Entry | None]:
        """Groups of further prompts; None where a group is of no use."""
        if not sources:
            return []
        extra = self.engine.answer(self._data.by_source(sources), self.sampling, self._seed, "rollout", step, attempt)
        kept = self._stage.usable_groups(extra).tolist()
        return [Entry(s, group) if good else None for s, group, good in zip(sources, extra.responses, kept, strict=True)]

    def _probe(self, trainer: Any, batch: PromptBatch) -> None:
        """|log p (engine) - log p (trainer)| on sampled responses to an image prompt; ends the run above the bounds.

        Each rank probes its own engine; all of them end together.
        """
        step = trainer.global_step
        prompt = next((prompt for prompt in batch.prompts if prompt.images), batch.prompts[0])
        sampling = SamplingOptions(
            max_new_tokens=self.sampling.max_new_tokens,
            group_size=_PROBE_RESPONSES,
            temperature=self.sampling.temperature or 1.0,
        )
        probe = self.engine.answer([prompt], sampling, self._seed, "probe", step)
        own = self._stage.response_logprobs(probe)
        gap_N = torch.cat(
            [
                (torch.tensor(response.engine_logp) - own[index].cpu()).abs()
                for index, response in enumerate(probe.flat_responses)
            ]
        )
        exact = trainer.precision == "32-true" and self.engine.precision == torch.float32
        verdict = judge(gap_N, bounds(self.probe_options, exact=exact))
        self._probed = True
        self._probe_cadence.restart(step)
        for name, value in (("", verdict.largest), ("_mean", verdict.mean), ("_p99", verdict.p99)):
            self._metrics.add(f"rollout/probe_gap{name}", value)
        for rank, problem in enumerate(self._stage.gather(verdict.problem)):
            if problem:
                raise RuntimeError(f"Log-prob probe failed before update {step + 1} on rank {rank}: {problem}")


def _check_overlap(overlap: int, engine: RolloutEngine) -> None:
    """Raises UserError for an engine that cannot sample while the trainer trains."""
    kind = type(engine).__name__
    if not engine.beside:
        raise UserError(
            f"RolloutCallback.overlap: {overlap} batches ahead need an engine in a process of its own, and {kind} samples "
            f"in the trainer's. Wrap it in ProcessEngine, {{class_path: ProcessEngine, init_args: {{engine: {{class_path: "
            f"{kind}}}}}}}, or set overlap to 0."
        )
    if engine.sleeps:
        raise UserError(
            "RolloutCallback.overlap: the engine has sleep_mode, which gives its memory back while the stage learns. With "
            "overlap it samples meanwhile. Leave sleep_mode out, or set overlap to 0."
        )


def _check_order(overlap: int, engine: RolloutEngine) -> None:
    """Raises UserError for an engine that cannot take weights while it samples, and where there would be no choice."""
    if not engine.updates_in_flight:
        raise UserError(
            f"RolloutCallback.order: finished needs an engine that takes new weights while it samples, a VLLMServerEngine, "
            f"and {type(engine).__name__} is none. Use one, or set order to given."
        )
    if overlap < 2:
        raise UserError(
            f"RolloutCallback.order: finished needs an overlap of at least 2. It is {overlap}, so all groups of a batch "
            f"must be waited for. Raise it, or set order to given."
        )


@contextmanager
def _explained(step: int) -> Iterator[None]:
    """Says beside an engine's error when it came, and what is lost by it."""
    try:
        yield
    except Exception as error:
        error.add_note(
            f"The engine failed in the rollouts for update {step + 1}. No update has begun on them: the same command goes "
            f"on from the newest checkpoint."
        )
        raise
