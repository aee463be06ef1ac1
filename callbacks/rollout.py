"""Fills each batch with the policy's own responses, and keeps the engine's weights the trainer's: proven, not assumed."""

import logging
import math
from collections import deque
from dataclasses import asdict
from typing import Any

import lightning as L
import torch

from callbacks.every import EveryUpdates
from callbacks.probe import ProbeOptions, bounds, judge
from prism_pl.contracts import PromptSource, RolloutStage, require
from prism_pl.engines import RolloutEngine
from prism_pl.errors import UserError
from prism_pl.metrics.collection import StepMetrics, means
from prism_pl.metrics.timing import seconds, timed
from prism_pl.seeds import run_seed
from prism_pl.types import Prompt, PromptBatch, Response, Rollouts, SamplingOptions

_log = logging.getLogger(__name__)
_PROBE_RESPONSES = 4

Group = tuple[Prompt, tuple[Response, ...]]
"""A prompt and its responses."""


class RolloutCallback(L.Callback):
    """Before a step: responses from the engine. After it: the policy's new weights into the engine.

    It asks the module for ``usable_groups`` and ``max_resampling`` and knows neither rewards nor algorithms.

    Args:
        engine: ``VLLMEngine`` or ``TransformersEngine``.
        sampling: how responses are sampled.
        probe: the proof that engine and trainer hold the same weights.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        sampling: SamplingOptions,
        probe: ProbeOptions = ProbeOptions(),
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
        self.engine = engine
        self.sampling = sampling
        self.probe_options = probe
        self._probe_cadence = EveryUpdates(probe.every)
        self._surplus: deque[Group] = deque()
        self._restored: list[dict[str, Any]] = []
        self._started = False

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._seed = run_seed()
        self._stage = require(pl_module, RolloutStage, "RolloutCallback")
        self._data = require(trainer.datamodule, PromptSource, "RolloutCallback")
        names = (
            "tokens_per_second",
            "probe_gap",
            "probe_gap_mean",
            "probe_gap_p99",
            "usable_groups",
            "prompts_sampled",
            "surplus_groups",
        )
        self._metrics = StepMetrics(means(*(f"rollout/{name}" for name in names)) | seconds("rollout", "sync"))
        self.engine.check()

    def ready_engine(self) -> RolloutEngine:
        """The engine, started by the first hook that uses it: all that Lightning does to a GPU's memory has gone before."""
        if not self._started:
            self._started = True
            self.engine.start(self._stage.policy_path, self._data.max_prompt_tokens, self.sampling)
        return self.engine

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.ready_engine().sync(self._stage.policy_weights())
        self._probed = False
        prompts = self._data.by_source([entry["source"] for entry in self._restored]) if self._restored else []
        for prompt, entry in zip(prompts, self._restored, strict=True):
            self._surplus.append((prompt, tuple(Response(**response) for response in entry["responses"])))
        self._restored = []

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        # Every rank has its own surplus; the file is written by the first.
        own = [{"source": p.source, "responses": [asdict(r) for r in group]} for p, group in self._surplus]
        checkpoint["surplus"] = self._stage.gather(own)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint["surplus"]
        if len(saved) == trainer.world_size:
            self._restored = saved[trainer.global_rank]
        else:  # another number of ranks: dealt anew
            self._restored = [entry for own in saved for entry in own][trainer.global_rank :: trainer.world_size]

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: PromptBatch, batch_idx: int) -> None:
        if self._probe_cadence.is_due(trainer.global_step) or not self._probed:
            self._probe(trainer, batch)
        with timed("rollout", self._metrics) as watch:
            batch.rollouts = self._sample(trainer.global_step, trainer.global_rank, batch.prompts)
        tokens = sum(len(response.token_ids) for response in batch.rollouts.flat_responses)
        self._metrics.add("rollout/tokens_per_second", tokens / watch.seconds)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        with timed("sync", self._metrics):
            self.engine.sync(self._stage.policy_weights())
        self._stage.report(self._metrics)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if self._started:
            self.engine.close()

    def _sample(self, step: int, rank: int, prompts: list[Prompt]) -> Rollouts:
        """Responses to the prompts; groups that the algorithm cannot use are replaced, up to its cap.

        Replacements come from the surplus of earlier steps first, then from further prompts, as many as the share of usable
        groups so far makes necessary; what is left over is the next steps' surplus. Its responses are older than the
        weights, which the importance weights between engine and trainer account for. When the cap is reached the batch goes
        on with unused groups in it: they carry no gradient, and the run lives.
        """
        most = self._stage.max_resampling
        sampled = self.engine.answer(prompts, self.sampling, self._seed, "rollout", step, 0)
        groups = _groups(sampled)
        usable = self._stage.usable_groups(sampled).tolist()
        holes = [p for p, good in enumerate(usable) if not good]
        tried, found = len(usable), len(usable) - len(holes)
        for attempt in range(most + 1):
            while holes and self._surplus:
                p = holes.pop(0)
                groups[p] = self._surplus.popleft()
                usable[p] = True
            if not holes or attempt == most:
                break
            count = min(len(usable), math.ceil(len(holes) * tried / max(found, 1)))
            fresh = self._data.draw(count, step, attempt + 1, rank)
            extra = self.engine.answer(fresh, self.sampling, self._seed, "rollout", step, attempt + 1)
            good = self._stage.usable_groups(extra).tolist()
            self._surplus.extend(group for group, kept in zip(_groups(extra), good, strict=True) if kept)
            tried, found = tried + len(good), found + sum(good)
        if holes and most:
            _log.warning(
                "step %d: %d of %d groups still of no use after %d rounds of resampling; going on with them.",
                step, len(holes), len(usable), most,
            )  # fmt: skip
        while len(self._surplus) > len(usable):
            self._surplus.popleft()
        self._metrics.add("rollout/usable_groups", torch.tensor(usable, dtype=torch.float))
        if most:
            self._metrics.add("rollout/prompts_sampled", float(tried))
            self._metrics.add("rollout/surplus_groups", float(len(self._surplus)))
        kept_prompts, responses = zip(*groups, strict=True)
        return Rollouts(kept_prompts, responses, self.sampling)

    def _probe(self, trainer: Any, batch: PromptBatch) -> None:
        """|log p (engine) - log p (trainer)| on sampled responses to an image prompt; ends the run above the bounds.

        The trainer computes as it does in training. Each rank probes its own engine; all of them end together.
        """
        step = trainer.global_step
        prompt = next((prompt for prompt in batch.prompts if prompt.images), batch.prompts[0])
        sampling = SamplingOptions(
            max_new_tokens=self.sampling.max_new_tokens,
            group_size=_PROBE_RESPONSES,
            temperature=self.sampling.temperature or 1.0,
        )
        probe = self.engine.answer([prompt], sampling, self._seed, "probe", step)
        with trainer.precision_plugin.train_step_context():
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


def _groups(rollouts: Rollouts) -> list[Group]:
    return list(zip(rollouts.prompts, rollouts.responses, strict=True))
