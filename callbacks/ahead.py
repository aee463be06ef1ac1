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
    """The batches that an engine was asked for ahead of time, each with its own prompts.

    Args:
        batches: how many at once; 0 asks for none.
        engine: ``submit`` of it must not wait.
        sampling: how responses are sampled.
        stage: what learns from them.
        data: where their prompts come from.
        seed: of the run.
    """

    in_flight = False
    """Whether new weights reach the engine while it samples."""

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
        self.batches, self.engine, self.sampling = batches, engine, sampling
        self.stage, self.data, self.seed = stage, data, seed
        self.early_share = 0.0
        """Of the last batch's groups: those whose own batch had not come yet."""
        self.unseen_seconds = 0.0
        """That the engine has worked on the last batch while nobody waited for it."""
        self._pending: deque[PendingRollouts] = deque()
        self._versions: deque[int] = deque(maxlen=batches + 1)
        """Updates that the weights had at the start of this batch and of the last ones."""

    def next(self, trainer: Any, prompts: list[Prompt]) -> Rollouts:
        """The responses to the batch of these prompts; asked for now if they were not before: in the first batch, after a
        resume, and where more updates were left to do than was foreseen.

        Raises RuntimeError for other prompts than were foreseen, and for responses of weights that are too old.
        """
        step = trainer.global_step
        if self._pending:
            pending = self._pending.popleft()
            check_foreseen(pending.prompts, prompts, step)
        else:
            pending = self._ask(prompts, step)
        (sampled,) = pending.result()
        self.unseen_seconds = pending.unseen_seconds
        self.check_age(sampled, step)
        return sampled

    def ask(self, trainer: Any) -> None:
        """Asks for further batches, but for none that begins when the last update is done."""
        while len(self._pending) < self.batches:
            upcoming = self.upcoming(trainer, len(self._pending) + 1)
            if upcoming is None:
                return
            self._pending.append(self._ask(*upcoming))

    def state(self) -> dict[str, Any]:
        """What a run needs that goes on after the present batch; the same on all ranks."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on from it. Raises UserError for that of a run which has taken prompts in another order."""
        if state.get("late"):
            raise UserError(
                f"RolloutCallback.order: it was finished when the checkpoint was saved, with {len(state['late'])} prompts "
                f"learnt from before their turn. Set it to finished again, or start anew."
            )

    def upcoming(self, trainer: Any, ahead: int) -> tuple[list[Prompt], int] | None:
        """The prompts of the batch that comes so many after the present one, and the updates before it; None if the run
        ends before it."""
        step = trainer.global_step + self.stage.updates_in(ahead)
        if 0 <= trainer.max_steps <= step:
            return None
        prompts = self.data.upcoming(ahead)
        return None if prompts is None else (prompts, step)

    def check_age(self, sampled: Rollouts, step: int) -> None:
        """Raises RuntimeError if weights have sampled a batch that were older than they may be."""
        self._versions.append(step)
        version, oldest = min(response.version for response in sampled.flat_responses), self._versions[0]
        if self.batches and version < oldest:
            raise RuntimeError(
                f"The engine has sampled with the weights of update {version}; with RolloutCallback.overlap: "
                f"{self.batches} they may be no older than those of update {oldest}."
            )

    def _ask(self, prompts: list[Prompt], step: int) -> PendingRollouts:
        return self.engine.submit(prompts, [self.sampling], self.seed, "rollout", step, 0)


def check_foreseen(foreseen: Any, prompts: list[Prompt], step: int) -> None:
    """Raises RuntimeError unless a batch has the prompts that were asked for."""
    if [prompt.source for prompt in foreseen] != [prompt.source for prompt in prompts]:
        raise RuntimeError(
            f"The prompts of the batch after update {step} are not those that the data module has said would come."
        )
