"""Batches of whichever groups are finished first, so that a long response does not hold up a batch.

Per rank, with b prompts a batch and N batches of overlap, so many prompts are open while a batch is learnt from:

    (N - 1) b + floor(b / 2)

The next batch takes the b of them that are finished first, but for those whose turn has come: a prompt of the first half of
a batch is learnt from in that batch at the latest, one of the second half in the batch after it. So no response is older
than N batches, and every prompt is learnt from once, however long its responses are.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from callbacks.ahead import RolloutsAhead, check_foreseen
from prism_pl.engines import PendingRollouts
from prism_pl.types import Prompt, Rollouts

_POLL_SECONDS = 0.005
_LATE = -1


@dataclass(eq=False)
class _Turn:
    """A prompt that no batch has taken yet."""

    prompt: Prompt
    batch: int
    """That the data module gives it in, counted since this run was started; ``_LATE`` for one from before."""
    place: int
    """In the whole batch, over all ranks."""
    last: int
    """The batch that takes it at the latest."""
    step: int
    """Updates before its batch."""


class FinishedFirst(RolloutsAhead):
    """``RolloutsAhead`` of an engine with ``updates_in_flight``, by the prompt."""

    in_flight = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._foreseen: deque[Sequence[Prompt]] = deque()
        """Of the batches after the present one, as far as they were read."""
        self._waiting: deque[_Turn] = deque()
        """Read, and not asked for yet."""
        self._open: dict[_Turn, PendingRollouts] = {}
        self._batch = -1
        """The present one, counted since this run was started."""
        self._size = 0
        """Of the present batch."""
        self._early: set[tuple[int, int]] = set()
        """Batch and place of prompts that were learnt from, and whose batch is yet to come."""
        self._state: dict[str, Any] = {"late": [], "early": []}
        self._complete = 0.0
        """When the last batch was."""

    def next(self, trainer: Any, prompts: list[Prompt]) -> Rollouts:
        step, begin = trainer.global_step, time.perf_counter()
        self._batch += 1
        self._size = len(prompts)
        if not self._batch:
            self._ask_for_late(trainer)
        if self._foreseen:
            check_foreseen(self._foreseen.popleft(), prompts, step)
        else:
            self._read(trainer, prompts, self._batch, step)
        self.ask(trainer)
        groups = self._take()
        # From one batch to the next it was never without work.
        self.unseen_seconds = begin - self._complete if self._complete else 0.0
        self._complete = time.perf_counter()
        sampled = Rollouts(
            tuple(prompt for group in groups for prompt in group.prompts),
            tuple(responses for group in groups for responses in group.responses),
            self.sampling,
        )
        self.check_age(sampled, step)
        return sampled

    def ask(self, trainer: Any) -> None:
        target = (self.batches - 1) * self._size + self._size // 2
        while len(self._open) < target:
            while not self._waiting:
                upcoming = self.upcoming(trainer, len(self._foreseen) + 1)
                if upcoming is None:
                    return
                self._foreseen.append(upcoming[0])
                self._read(trainer, upcoming[0], self._batch + len(self._foreseen), upcoming[1])
            self._submit(self._waiting.popleft())

    def state(self) -> dict[str, Any]:
        return self._state

    def load_state(self, state: dict[str, Any]) -> None:
        if state:
            self._state = state
            self._early = {(batch, place) for batch, place in state["early"]}

    def _take(self) -> list[Rollouts]:
        """The groups of this batch."""
        turns = self._next_turns()
        pending = [self._open.pop(turn) for turn in turns]
        own = {(turn.batch, turn.place) for turn in turns if turn.batch > self._batch}
        self.early_share = len(own) / len(turns)
        self._early = {turn for turn in self._early | own if turn[0] > self._batch}
        late = [turn for turn in (*self._open, *self._waiting) if turn.batch <= self._batch]
        self._state = self._whole_state([(turn.batch, turn.place, turn.prompt.source) for turn in late])
        return [group.result()[0] for group in pending]

    def _next_turns(self) -> list[_Turn]:
        """As many as the batch has prompts: those whose turn has come, then whoever is finished; waits until there are."""
        due = sorted((turn for turn in self._open if turn.last <= self._batch), key=lambda turn: turn.last)[: self._size]
        others = [turn for turn in self._open if turn not in due]
        room = self._size - len(due)
        finished = others
        if len(others) > room:
            while len(finished := [turn for turn in others if self._open[turn].is_done]) < room:
                time.sleep(_POLL_SECONDS)
        return sorted([*due, *finished[:room]], key=lambda turn: (turn.batch, turn.place))

    def _read(self, trainer: Any, prompts: Sequence[Prompt], batch: int, step: int) -> None:
        """Lines up a batch's prompts, but for those that were learnt from already."""
        for number, prompt in enumerate(prompts):
            place = number * trainer.world_size + trainer.global_rank
            if (batch, place) not in self._early:
                self._waiting.append(
                    _Turn(prompt, batch, place, batch + (number + len(prompts) // 2) // len(prompts), step)
                )

    def _submit(self, turn: _Turn) -> None:
        words = (self.seed, "rollout", turn.step, 0)
        self._open[turn] = self.engine.submit([turn.prompt], [self.sampling], *words)

    def _ask_for_late(self, trainer: Any) -> None:
        """For those that a run before this one has left over: each rank for as many as it has learnt from early."""
        pairs = zip(self._state["late"], self._state["early"], strict=True)
        own = [source for source, (_, place) in pairs if place % trainer.world_size == trainer.global_rank]
        for place, prompt in enumerate(self.data.by_source(own) if own else ()):
            self._submit(_Turn(prompt, _LATE, place, 0, trainer.global_step))

    def _whole_state(self, own_late: list[tuple[int, int, str]]) -> dict[str, Any]:
        """Of all ranks. A prompt that is late has made room for one that was early, so there are as many of both."""
        own_early = [(batch - self._batch - 1, place) for batch, place in self._early]
        everyone = self.stage.gather((own_late, own_early))
        return {
            "late": [source for *_, source in sorted(turn for late, _ in everyone for turn in late)],
            "early": sorted(turn for _, early in everyone for turn in early),
        }
