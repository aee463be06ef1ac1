"""Fills each batch with the policy's own responses, and keeps the engine's weights the trainer's: proven, not assumed."""

import logging
import math
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

import lightning as L
import torch

from prism_pl.engines import RolloutEngine, SamplingOptions
from prism_pl.metrics.means import Means
from prism_pl.metrics.timing import timed
from prism_pl.ranges import NonNegativeFloat, PositiveInt
from prism_pl.seeds import run_seed
from prism_pl.types import Prompt, PromptBatch, Response

_log = logging.getLogger(__name__)
_PROBE_RESPONSES = 4


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """The proof that the engine samples from the trainer's weights."""

    every: PositiveInt = 10
    """In policy updates; the probe also runs before the first one and after a resume."""
    max_gap: NonNegativeFloat = 1e-4
    """Largest |log p (engine) - log p (trainer)| over the probe's tokens. 1e-4 suits fp32; bf16 needs about 0.3."""


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
        self.engine = engine
        self.sampling = sampling
        self.probe_options = probe
        self._means = Means()
        self._surplus: deque[tuple[Prompt, list[Response]]] = deque()
        self._restored: list[dict[str, Any]] = []

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._seed = run_seed()
        self.engine.start(pl_module.policy_name, trainer.datamodule.max_prompt_tokens, self.sampling)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.engine.sync(pl_module.policy.weights())
        self._probed_at = -1
        prompts = trainer.datamodule.by_source([entry["source"] for entry in self._restored]) if self._restored else []
        for prompt, entry in zip(prompts, self._restored, strict=True):
            self._surplus.append((prompt, [Response(**response) for response in entry["responses"]]))
        self._restored = []

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        # Every rank has its own surplus; the file is written by the first.
        own = [{"source": p.source, "responses": [asdict(r) for r in group]} for p, group in self._surplus]
        everyone: list[Any] = [own]
        if trainer.world_size > 1:
            everyone = [None] * trainer.world_size
            torch.distributed.all_gather_object(everyone, own)
        checkpoint["surplus"] = everyone

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._restored = checkpoint["surplus"][trainer.global_rank]

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: PromptBatch, batch_idx: int) -> None:
        self._means = Means()
        due = self._probed_at < 0 or trainer.global_step - self._probed_at >= self.probe_options.every
        if due:
            self._probe(trainer, pl_module, batch)
        with timed("rollout", self._means):
            self._fill(trainer, pl_module, batch)
        tokens = sum(len(response.token_ids) for response in batch.flat_responses)
        seconds = self._means.result()["seconds/rollout"]
        self._means.add("rollout/tokens_per_second", tokens / seconds)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        with timed("sync", self._means):
            self.engine.sync(pl_module.policy.weights())
        pl_module.report(self._means)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.engine.close()

    def _fill(self, trainer: Any, pl_module: Any, batch: PromptBatch) -> None:
        """Responses for the batch's prompts; groups that the algorithm cannot use are replaced, up to its cap.

        Replacements come from the surplus of earlier steps first, then from further prompts, as many as the share of usable
        groups so far makes necessary; what is left over is the next steps' surplus. Its responses are older than the
        weights, which the importance weights between engine and trainer account for. When the cap is reached the batch goes
        on with unused groups in it: they carry no gradient, and the run lives.
        """
        step = trainer.global_step
        sampled = self.engine.answer(batch.prompts, self.sampling, self._seed, "rollout", step, 0)
        usable = pl_module.usable_groups(sampled).tolist()
        holes = [p for p, good in enumerate(usable) if not good]
        tried, found = len(usable), len(usable) - len(holes)
        for attempt in range(pl_module.max_resampling + 1):
            while holes and self._surplus:
                p = holes.pop(0)
                sampled.prompts[p], sampled.responses[p] = self._surplus.popleft()
                usable[p] = True
            if not holes or attempt == pl_module.max_resampling:
                break
            count = min(len(usable), math.ceil(len(holes) * tried / max(found, 1)))
            fresh = trainer.datamodule.draw(count, step, attempt + 1, trainer.global_rank)
            extra = self.engine.answer(fresh, self.sampling, self._seed, "rollout", step, attempt + 1)
            good = pl_module.usable_groups(extra).tolist()
            groups = zip(extra.prompts, extra.responses, strict=True)
            self._surplus.extend(group for group, kept in zip(groups, good, strict=True) if kept)
            tried, found = tried + len(good), found + sum(good)
        if holes and pl_module.max_resampling:
            _log.warning(
                "step %d: %d of %d groups still without signal after %d rounds of resampling; going on with them.",
                step, len(holes), len(usable), pl_module.max_resampling,
            )  # fmt: skip
        while len(self._surplus) > len(usable):
            self._surplus.popleft()
        self._means.add("rollout/usable_groups", torch.tensor(usable, dtype=torch.float))
        if pl_module.max_resampling:
            self._means.add("rollout/prompts_sampled", float(tried))
            self._means.add("rollout/surplus_groups", float(len(self._surplus)))
        batch.prompts, batch.responses = sampled.prompts, sampled.responses
        batch.temperature, batch.max_new_tokens = sampled.temperature, sampled.max_new_tokens

    def _probe(self, trainer: Any, pl_module: Any, batch: PromptBatch) -> None:
        """|log p (engine) - log p (trainer)| on sampled responses to an image prompt; ends the run above the bound."""
        prompt = next((prompt for prompt in batch.prompts if prompt.images), batch.prompts[0])
        sampling = SamplingOptions(
            max_new_tokens=self.sampling.max_new_tokens,
            group_size=_PROBE_RESPONSES,
            temperature=self.sampling.temperature or 1.0,
        )
        probe = self.engine.answer([prompt], sampling, self._seed, "probe", trainer.global_step)
        own = pl_module.response_logprobs(probe)
        gap = max(
            float((torch.tensor(response.engine_logp) - own[index].cpu()).abs().max())
            for index, response in enumerate(probe.flat_responses)
        )
        self._probed_at = trainer.global_step
        self._means.add("rollout/probe_gap", gap)
        if not gap <= self.probe_options.max_gap:
            raise RuntimeError(
                f"Log-prob probe failed before update {trainer.global_step + 1}: |log p (engine) - log p (trainer)| is "
                f"{gap:.2e}, the bound probe.max_gap is {self.probe_options.max_gap:.0e}. The engine does not sample from "
                f"the trainer's weights, or the two compute in different precision."
            )
