"""Which rollouts are asked for ahead of time, of which weights they are, and what is refused."""

from types import SimpleNamespace
from typing import Any

import pytest

from callbacks import RolloutCallback
from callbacks.ahead import RolloutsAhead
from prism_pl.engines import ProcessEngine, TransformersEngine, VLLMEngine
from prism_pl.errors import UserError
from prism_pl.types import PromptBatch, SamplingOptions
from tests.callbacks.test_rollout import Echo, Module, Source, prompt

SAMPLING = SamplingOptions(max_new_tokens=1, group_size=2)


class BesideEcho(Echo):
    """Notes what it is asked, in order: the words of a batch, or the version of weights."""

    beside = True

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def submit(self, prompts: Any, samplings: Any, *words: int | str) -> Any:
        self.events.append((*(own.source for own in prompts), *words[2:]))
        return super().submit(prompts, samplings, *words)

    def take(self, weights: Any, version: int, in_flight: bool = False) -> None:
        assert not in_flight
        self.events.append(version)
        super().take(weights, version)


class Batches(Source):
    """Batches of one prompt, called by their number."""

    present, last = 0, 100

    def upcoming(self, batches: int) -> Any:
        number = self.present + batches
        return [prompt(str(number))] if number <= self.last else None


class Run:
    """Batches of two updates each."""

    def __init__(self, overlap: int, max_steps: int = -1) -> None:
        self.engine, self.data = BesideEcho(), Batches()
        self.callback = RolloutCallback(self.engine, SAMPLING, overlap=overlap)
        self.trainer = SimpleNamespace(
            global_step=0, global_rank=0, world_size=1, is_global_zero=True, datamodule=self.data, max_steps=max_steps
        )
        self.module = Module(set(), 0)
        self.module.updates_in = lambda batches: 2 * batches  # type: ignore[method-assign]
        self.callback.setup(self.trainer, self.module, "fit")
        self.callback.on_train_start(self.trainer, self.module)
        self.engine.events.clear()

    def step(self, name: str | None = None, updates: int = 2) -> set[int]:
        """The versions of the responses."""
        self.callback._probed = True
        batch = PromptBatch([prompt(name or str(self.data.present))])
        self.callback.on_train_batch_start(self.trainer, self.module, batch, 0)
        assert batch.rollouts is not None
        self.trainer.global_step += updates
        self.callback.on_train_batch_end(self.trainer, self.module, None, batch, 0)
        self.data.present += 1
        return {response.version for response in batch.rollouts.flat_responses}


def test_without_overlap_each_batch_has_the_newest_weights() -> None:
    run = Run(0)
    assert [run.step() for _ in range(3)] == [{0}, {2}, {4}]
    assert run.engine.events == [("rows:0", 0, 0), 2, ("rows:1", 2, 0), 4, ("rows:2", 4, 0), 6]
    assert "rollout/staleness" not in run.module.latest


def test_one_batch_ahead_is_one_batch_old() -> None:
    run = Run(1)
    assert run.step() == {0}
    assert run.module.latest["rollout/staleness"] == 0
    assert [run.step() for _ in range(2)] == [{0}, {2}]
    assert run.module.latest["rollout/staleness"] == 2
    expected = [("rows:0", 0, 0), ("rows:1", 2, 0), 2, ("rows:2", 4, 0), 4, ("rows:3", 6, 0), 6]
    assert run.engine.events == expected


def test_two_batches_ahead_are_two_batches_old() -> None:
    run = Run(2)
    assert [run.step() for _ in range(5)] == [{0}, {0}, {0}, {2}, {4}]


def test_nothing_is_asked_for_that_no_update_is_left_for() -> None:
    run = Run(2, max_steps=6)
    for _ in range(3):
        run.step()
    assert [event for event in run.engine.events if isinstance(event, tuple)] == [
        ("rows:0", 0, 0), ("rows:1", 2, 0), ("rows:2", 4, 0),
    ]  # fmt: skip
    # An update was left out, so that there is one more batch: it is asked for when it comes, with the newest weights.
    run.trainer.global_step = 5
    assert run.step() == {6}
    short = Run(1)
    short.data.last = 1
    short.step(), short.step()
    assert [event for event in short.engine.events if isinstance(event, tuple)] == [("rows:0", 0, 0), ("rows:1", 2, 0)]


def test_other_prompts_than_were_foreseen_end_the_run() -> None:
    run = Run(1)
    run.step()
    with pytest.raises(RuntimeError, match="after update 2 are not those that the data module has said") as caught:
        run.step("other")
    assert "The engine failed in the rollouts for update 3." in caught.value.__notes__[0]


def test_weights_that_are_too_old_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that drops them, and tells the truth about it."""
    run = Run(1)
    monkeypatch.setattr(BesideEcho, "take", lambda *_: None)
    run.step(), run.step()
    with pytest.raises(
        RuntimeError, match=r"weights of update 0; with RolloutCallback.overlap: 1 .* than those of update 2"
    ):
        run.step()


def test_what_cannot_overlap_is_refused() -> None:
    with pytest.raises(UserError, match=r"overlap: 1 batches ahead need .*TransformersEngine samples in the trainer"):
        RolloutCallback(TransformersEngine("cpu"), SAMPLING, overlap=1)
    with pytest.raises(UserError, match=r"overlap: the engine has sleep_mode"):
        RolloutCallback(ProcessEngine(VLLMEngine(sleep_mode=True)), SAMPLING, overlap=1)
    uncorrected = Module(set(), 0)
    uncorrected.corrects_mismatch = False
    with pytest.raises(UserError, match=r"model.mismatch.action: it is off, but with RolloutCallback.overlap"):
        RolloutsAhead(1, BesideEcho(), SAMPLING, uncorrected, Batches(), 0)  # type: ignore[arg-type]
    RolloutsAhead(0, BesideEcho(), SAMPLING, uncorrected, Batches(), 0)  # type: ignore[arg-type]
