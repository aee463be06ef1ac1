"""What the convergence probe refuses before a run starts, and what it logs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from callbacks import ConvergenceProbe, RunFolder
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile
from prism_pl.discriminators import DenseDiscriminator
from prism_pl.drift import CLOUD_DISTANCES, COUNT_DISTANCES
from prism_pl.errors import UserError
from prism_pl.segments import count_items, parse_response
from prism_pl.types import ASPECTS
from tests.callbacks.test_rollout import Module
from tests.modules.aligning import metrics
from tests.modules.fits import finished_updates, fit
from tests.modules.small_stages import write
from tests.ranks.matrix import PROBE, align


def test_fewer_than_two_prompts_a_rank_are_refused() -> None:
    """One half of a rank's prompts trains the fresh discriminator, the other tests it."""
    callback = ConvergenceProbe(
        "embedded/digits/heldout.jsonl", 1, discriminator=DenseDiscriminator(), max_new_tokens=8, num_prompts=5
    )
    policy = Module(set(), 0)
    policy.policy_path = "embedded/digits"
    refused = "ConvergenceProbe.num_prompts: 5 held-out prompts are too few for 3 devices, of which each needs 2"
    with pytest.raises(UserError, match=refused):
        callback.setup(SimpleNamespace(world_size=3, callbacks=[]), policy, "fit")
    # Two ranks have enough; then the rollouts are missed.
    with pytest.raises(UserError, match="RolloutCallback"):
        callback.setup(SimpleNamespace(world_size=2, callbacks=[]), policy, "fit")


def test_distances_are_logged_beside_their_floor(tmp_path: Path, encoder: PromptEncoder) -> None:
    """On written responses; that two ranks log the same is for the matrix of ranks."""
    config = write(align("DenseDiscriminator", PROBE), tmp_path / "align.yaml")
    fit(config, tmp_path / "align", "--trainer.max_steps", "1")
    first, after = (metrics(tmp_path / "align")[step] for step in (0, 1))
    names = {f"convergence/{name}{role}" for name in (*COUNT_DISTANCES, *CLOUD_DISTANCES) for role in ("", "_floor")}
    assert names <= first.keys()
    floors = {name for name in names if name.endswith("_floor")}
    assert {name: after[name] for name in floors} == {name: first[name] for name in floors}, "teachers never change"
    # The teachers of the eight prompts, by hand: items of every second one against the others'.
    data = DataFile.open("embedded/digits/heldout.jsonl", "test")
    teachers = [parse_response(prompt.teacher or "") for prompt in encoder.encode([data.prompt_row(i) for i in range(8)])]
    items = [count_items(own.caption) for own in teachers if own]
    assert len(items) == 8
    even, odd = sorted(items[::2]), sorted(items[1::2])
    # Of equally many values W1 is the mean difference in their order.
    expected = sum(abs(own - other) for own, other in zip(even, odd, strict=True)) / 4
    assert first["convergence/w1_caption_items_floor"] == pytest.approx(expected)


def test_a_run_that_was_killed_after_the_probe_had_ended_it_makes_no_further_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A fresh discriminator can tell at first, and cannot after the first update. It is asked twice a probe.
    said = iter([1.0, 1.0])
    monkeypatch.setattr(
        "callbacks.convergence.two_sample_accuracy", lambda *_: torch.full((1, len(ASPECTS)), next(said, 0.5))
    )

    class StopError(Exception):
        pass

    class Killed(RunFolder):
        def finish(self, *_: Any) -> None:
            raise StopError

    config = write(
        align("DenseDiscriminator", PROBE | {"init_args": PROBE["init_args"] | {"stop_below": 0.6}}), tmp_path / "a"
    )
    options = ("--trainer.max_steps=4", "--checkpoint.every_n_train_steps=1")
    with pytest.raises(StopError):
        fit(config, tmp_path / "run", *options, run_folder=Killed)
    fit(config, tmp_path / "run", *options)
    assert finished_updates(tmp_path / "run") == 1
