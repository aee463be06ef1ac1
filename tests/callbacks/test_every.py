"""When a callback works: at multiples of the run's updates, wherever a run was resumed."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

import callbacks
from callbacks.every import EveryUpdates
from prism_pl.embedded import EMBEDDED_NAME
from tests.modules.fits import fit, logged
from tests.modules.small_stages import write
from tests.short_fit import SFT


def due(every: int, resumed_at: int, visited: Sequence[int]) -> list[int]:
    cadence = EveryUpdates(every)
    cadence.restart(resumed_at)
    return [updates for updates in visited if cadence.is_due(updates)]


@pytest.mark.parametrize(
    ("resumed_at", "expected"),
    [(0, [40, 80, 120]), (1, [40, 80, 120]), (39, [40, 80, 120]), (40, [80, 120]), (41, [80, 120]), (80, [120])],
)
def test_multiples_wherever_a_run_goes_on(resumed_at: int, expected: list[int]) -> None:
    assert due(40, resumed_at, range(resumed_at + 1, 121)) == expected


@pytest.mark.parametrize("resumed_at", range(0, 24, 3))
def test_a_step_of_several_updates_is_due_if_it_reaches_or_passes_a_multiple(resumed_at: int) -> None:
    # Three updates a step. 5 is passed by 6, 10 by 12, 20 by 21; 15 is hit; none of them moves the next.
    visited = range(resumed_at + 3, 25, 3)
    assert due(5, resumed_at, visited) == [updates for updates in (6, 12, 15, 21) if updates > resumed_at]


def test_a_step_that_passes_several_multiples_is_due_once() -> None:
    assert due(2, 0, (5, 5, 6, 6)) == [5, 6]


def test_zero_is_never() -> None:
    assert due(0, 0, range(100)) == []


class StopError(Exception):
    """Ends a run as a kill would."""


def broken_off(hook: str, update: int) -> type[callbacks.RunFolder]:
    """A run that ends after so many updates: at the end of a batch, before its checkpoint is written, or after that."""

    def stop(self, trainer, *_) -> None:  # type: ignore[no-untyped-def]
        if trainer.global_step == update:
            raise StopError

    return type("BrokenOff", (callbacks.RunFolder,), {hook: stop})


@pytest.mark.parametrize(
    ("hook", "update"),
    [("on_train_batch_start", 1), ("on_train_batch_end", 2), ("on_train_batch_start", 2)],
)
def test_a_resumed_run_is_evaluated_where_an_unbroken_one_is(tmp_path: Path, hook: str, update: int) -> None:
    evaluation = {
        "class_path": "EvaluationCallback",
        "init_args": {
            "path": f"{EMBEDDED_NAME}/heldout.jsonl", "every": 2, "max_new_tokens": 2, "num_prompts": 1, "num_final": 1,
            "engine": {"class_path": "TransformersEngine"},
        },
    }  # fmt: skip
    config = write(yaml.safe_load(SFT) | {"trainer": {"max_steps": 5, "callbacks": [evaluation]}}, tmp_path / "sft.yaml")
    with pytest.raises(StopError):
        fit(config, tmp_path / "run", "--checkpoint.every_n_train_steps=1", run_folder=broken_off(hook, update))
    fit(config, tmp_path / "run", "--checkpoint.every_n_train_steps=1")
    # Each once, and at the end.
    assert [line["step"] for line in logged(tmp_path / "run", "heldout/accuracy")] == [2, 4, 5]
