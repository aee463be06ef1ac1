"""Rollouts of the next batches, sampled while the present one is learnt from.

The engine does in order what it is asked: batch t + 1 is asked for before the weights that batch t makes are on their way.
So with one batch ahead its responses are those of the weights before batch t, and at the start of a batch, once the engine
has done all that it was asked, it holds the trainer's weights.
"""

from collections import deque
from typing import Any

from prism_pl.contracts import PromptSource, RolloutStage
from prism_pl.engines import PendingRollouts, RolloutEngine
from prism_pl.errors import UserError
from prism_pl.types import Prompt, Rollouts, SamplingOptions


class RolloutsAhead:
    """The batches that an engine was asked for ahead of time.

    Args:
        batches: how many at once; 0 asks for none.
        engine: ``submit`` of it must not wait.
        sampling: how responses are sampled.
        stage: what learns from them.
        data: where their prompts come from.
        seed: of the run.
    """

    def __init__(
        self,
        batches: int,
        engine: RolloutEngine,
        sampling: SamplingOptions,
        stage: RolloutStage,
        data: PromptSource,
        seed: int,
    ) -> None:
        if batches and not stage.corrects_mismatch:
            raise UserError(
                "model.mismatch.action: it is off, but with RolloutCallback.overlap responses are older than the weights "
                "that learn from them, which nothing would correct for. Use truncate or mask, or set overlap to 0."
            )
        self._batches, self._engine, self._sampling = batches, engine, sampling
        self._stage, self._data, self._seed = stage, data, seed
        self._pending: deque[PendingRollouts] = deque()
        self._versions: deque[int] = deque(maxlen=batches + 1)
        """Updates that the weights had at the start of this batch and of the last ones."""

    def next(self, prompts: list[Prompt], step: int) -> PendingRollouts:
        """The responses to the batch that begins after ``step`` updates; asked for now if they were not before: in the
        first batch, after a resume, and where more updates were left to do than was foreseen."""
        self._versions.append(step)
        if not self._pending:
            return self._ask(prompts, step)
        pending = self._pending.popleft()
        if [prompt.source for prompt in pending.prompts] != [prompt.source for prompt in prompts]:
            raise RuntimeError(
                f"The prompts of the batch after update {step} are not those that the data module has said would come."
            )
        return pending

    def check(self, sampled: Rollouts) -> None:
        """Raises RuntimeError if weights have sampled a batch that were older than they may be."""
        version, oldest = sampled.flat_responses[0].version, self._versions[0]
        if self._batches and version < oldest:
            raise RuntimeError(
                f"The engine has sampled with the weights of update {version}; with RolloutCallback.overlap: "
                f"{self._batches} they may be no older than those of update {oldest}."
            )

    def ask(self, trainer: Any) -> None:
        """Asks for further batches, but for none that begins when the last update is done."""
        while len(self._pending) < self._batches:
            ahead = len(self._pending) + 1
            step = trainer.global_step + self._stage.updates_in(ahead)
            if 0 <= trainer.max_steps <= step:
                return
            prompts = self._data.upcoming(ahead)
            if prompts is None:
                return
            self._pending.append(self._ask(prompts, step))

    def _ask(self, prompts: list[Prompt], step: int) -> PendingRollouts:
        return self._engine.submit(prompts, [self._sampling], self._seed, "rollout", step, 0)
