"""A NaN in the middle of a run: the update is left out and named, and a run of nothing else stops."""

import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import callbacks
from modules.nonfinite import NonFiniteGuard
from prism_pl.errors import UserError
from prism_pl.model.packing import Suspects, nonfinite_segments
from tests.command_line import captured, finish
from tests.modules.aligning import OPTIONS, start
from tests.modules.fits import fit, logged
from tests.modules.small_stages import scripted, write

Weights = dict[str, torch.Tensor]


def write_config(folder: Path, **poison: list[int]) -> Path:
    """Alignment on written responses, with a poison."""
    return write(scripted({"class_path": "tests.modules.poison.Poison", "init_args": poison}), folder / "align.yaml")


def options(**changed: str) -> list[str]:
    own = OPTIONS | {"model.cadence.discriminator_every": "1", "model.replay.prompts_per_update": "0"}
    return [f"--{key}={value}" for key, value in (own | {k.replace("__", "."): v for k, v in changed.items()}).items()]


class Watcher(callbacks.RunFolder):
    """Keeps both networks' weights and the policy's rate as they were before the first batch and after each."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        seen.clear()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        keep(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        keep(trainer, pl_module)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        keep(trainer, pl_module)


seen: list[dict[str, Weights]] = []


def keep(trainer: Any, pl_module: Any) -> None:
    own = {
        name: {key: tensor.detach().clone() for key, tensor in getattr(pl_module, name).state_dict().items()}
        for name in ("policy", "discriminator")
    }
    own["schedule"] = {"updates": torch.tensor([trainer.global_step, pl_module.main_schedule.last_epoch])}
    seen.append(own)


def moved(name: str) -> list[bool]:
    """Whether the weights are others after each batch than before it."""
    return [any(not torch.equal(a[name][k], b[name][k]) for k in a[name]) for a, b in pairwise(seen)]


def test_a_poisoned_update_changes_nothing_and_is_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The first batch has a NaN log-probability, the second a NaN score, the third nothing.
    config = write_config(tmp_path, policy=[0], discriminator=[1])
    folder = tmp_path / "run"
    fit(config, folder, *options(trainer__max_steps="2"), run_folder=Watcher)
    assert moved("policy") == [False, True, True]
    assert moved("discriminator") == [True, False, True]
    # Neither the count of updates nor the schedule went on without one.
    assert [kept["schedule"]["updates"].tolist() for kept in seen] == [[0, 0], [0, 0], [1, 1], [2, 2]]
    assert all(tensor.isfinite().all() for name in ("policy", "discriminator") for tensor in seen[-1][name].values())
    lines = logged(folder, "policy/skipped_updates")
    assert [line["policy/skipped_updates"] for line in lines] == [1.0, 0.0, 0.0]
    assert [line["discriminator/skipped_updates"] for line in lines] == [0.0, 1.0, 0.0]
    first, second = [record.getMessage() for record in caplog.records if "is left out" in record.getMessage()]
    assert re.fullmatch(
        r"After update 0: policy: .* \(1 in a row, the run stops at 3\): \S*align.jsonl:\d+, response 2 of 4\.", first
    )
    # The same score is known before any update: the policy has learnt from the group's others, as asserted above.
    assert [line["score/nonfinite"] for line in lines] == [0.0, 1.0, 0.0]
    (scored,) = [record.getMessage() for record in caplog.records if "discriminator's score" in record.getMessage()]
    assert re.fullmatch(
        r"After update 0: the discriminator's score of 1 responses .* \(1 batches in a row, the run stops at 3\): "
        r"\S*align.jsonl:\d+, response 1 of 4\.",
        scored,
    )
    # Three of four responses are well-formed, and the teacher's two segments come first.
    assert re.fullmatch(
        r"After update 0: discriminator: .* \(1 in a row.*\): \S*align.jsonl:\d+, segment 3 of \d+\.", second
    )


@pytest.mark.ranks
@pytest.mark.parametrize("strategy", ["fsdp2", "deepspeed_stage_2", "deepspeed_stage_3"])
def test_two_processes_leave_the_same_updates_out(tmp_path: Path, strategy: str) -> None:
    """Only the first process meets the NaN."""
    config = write_config(tmp_path, policy=[0], discriminator=[1])
    chosen = {"trainer__max_steps": "2", "data__batch_size": "4", "model__cadence__discriminator_every": "1",
              "model__replay__prompts_per_update": "0", "model__discriminator_loss__r1_weight": "0"}  # fmt: skip
    sharded = {"trainer__devices": "2", "trainer__strategy": strategy, "trainer__accelerator": "cpu"}
    finish(start(config, tmp_path / "one", **chosen))
    finish(start(config, tmp_path / "two", **chosen, **sharded))
    one, two = (logged(tmp_path / name, "policy/skipped_updates") for name in ("one", "two"))
    for name, skipped in (("policy", [1.0, 0.0, 0.0]), ("discriminator", [0.0, 1.0, 0.0])):
        key = f"{name}/skipped_updates"
        assert [line[key] for line in one] == [line[key] for line in two] == skipped
        norm = f"{name}/gradient_norm"
        for n in range(3):
            # NaN where left out. The clean steps come from weights that no process has changed alone.
            assert two[n][norm] == pytest.approx(one[n][norm], abs=1e-4, nan_ok=True)
            assert math.isnan(one[n][norm]) == bool(skipped[n])


def test_a_run_of_nothing_else_stops_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, policy=[0, 1, 2, 3])
    common = ["fit", "--config", str(config), "--run_dir", str(tmp_path / "run"), "--trainer.enable_progress_bar=false"]
    code, _, errors = captured(capsys, *common, *options(model__nonfinite_limit="2"))
    assert code == 2
    assert "of 2 updates in a row was not finite (model.nonfinite_limit: 2)" in " ".join(errors.split())
    assert ", response 2 of 4" in " ".join(errors.split())
    assert len(logged(tmp_path / "run", "policy/skipped_updates")) == 1


def test_a_run_of_lost_scores_stops_even_if_the_discriminator_does_not_learn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, policy=[], discriminator=[0, 1, 2, 3])
    common = ["fit", "--config", str(config), "--run_dir", str(tmp_path / "run"), "--trainer.enable_progress_bar=false"]
    changed = options(model__nonfinite_limit="2", model__cadence__discriminator_every="9")
    code, _, errors = captured(capsys, *common, *changed)
    assert code == 2
    said = " ".join(errors.split())
    assert "in 2 batches in a row it gave a score that is not finite (model.nonfinite_limit: 2)" in said
    assert ", response 1 of 4" in said
    # The policy has learnt from the first batch's other responses.
    (line,) = logged(tmp_path / "run", "score/nonfinite")
    assert (line["score/nonfinite"], line["policy/skipped_updates"]) == (1.0, 0.0)
    assert line["policy/trained_responses"] > 0.5


def test_no_limit_below_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, policy=[])
    code, _, errors = captured(
        capsys, "fit", "--config", str(config), "--run_dir", str(tmp_path / "run"), *options(model__nonfinite_limit="0")
    )
    assert code != 0
    assert "nonfinite_limit" in errors


def test_the_count_in_a_row_is_of_each_optimizer_and_starts_anew() -> None:
    guard = NonFiniteGuard(2)
    for _ in range(2):
        guard.left_out("policy", 5, [], speaks=False)
        guard.applied("policy")
    guard.left_out("policy", 5, [], speaks=False)
    guard.left_out("discriminator", 5, [], speaks=False)
    with pytest.raises(UserError, match=r"policy: .* of 2 updates in a row .* it cannot be told which row it comes from"):
        guard.left_out("policy", 5, [], speaks=False)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_the_guard_sees_is_of_one_update(bad: float) -> None:
    guard = NonFiniteGuard(2)
    one = torch.tensor(1.0)

    def taken(norm: torch.Tensor) -> tuple[bool, list[str]]:
        not_finite, suspects = guard.take(norm)
        return bool(not_finite), suspects()

    # Nobody is suspected whose own loss is finite.
    guard.look(one, suspects([5]))
    assert taken(one) == (False, [])
    # A gradient alone names nobody.
    guard.look(one, suspects([5]))
    assert taken(torch.tensor(bad)) == (True, [])
    guard.look(torch.tensor(bad), suspects([3, 4]))
    guard.look(one, suspects([5]))
    guard.look(torch.tensor(bad), suspects([3]))
    guard.look(torch.tensor(bad))
    assert taken(one) == (True, ["a.jsonl:3", "a.jsonl:4"])
    assert taken(one) == (False, [])


def suspects(bad: list[int]) -> Suspects:
    """Of six rows in reversed order."""
    rows = [5, 4, 3, 2, 1, 0]
    return Suspects(torch.tensor([row in bad for row in rows]), torch.tensor(rows), "a.jsonl:{}".format)


def test_nothing_waits_for_the_device_before_the_update() -> None:
    """A tensor without data, as on a device that has not computed it yet, cannot be waited for."""
    nowhere = torch.zeros((), device="meta")
    with pytest.raises(RuntimeError):
        bool(nowhere)
    guard = NonFiniteGuard(2)
    for _ in range(3):
        guard.look(nowhere, nonfinite_segments(torch.zeros(2, 4, device="meta"), torch.arange(2, device="meta"), []))
    not_finite, _ = guard.take(nowhere)
    assert not_finite.is_meta


def test_at_most_eight_are_named() -> None:
    with pytest.raises(UserError, match=r"f:1; f:2; f:3; f:4; f:5; f:6; f:7; f:8; and 2 more\. Look"):
        NonFiniteGuard(1).left_out("policy", 0, [f"f:{n}" for n in range(1, 11)], speaks=False)
