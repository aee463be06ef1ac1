"""Whole fits with rollouts that are sampled ahead: each response is the one that the weights it names give."""

import importlib.util
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

import callbacks
from modules import AdversarialAlignModule, RLVRModule
from modules.align import CadenceOptions
from prism_pl.algorithms.policy_update import ReuseOptions
from prism_pl.engines import TransformersEngine
from prism_pl.runs.files import read_lines
from prism_pl.types import Rollouts, SamplingOptions
from tests.faults.kills import timeless
from tests.modules.fits import finished_updates, fit, logged
from tests.modules.small_stages import Content, rewarded, write
from tests.ranks.several_fits import StopError

PROCESS: Content = {
    "class_path": "ProcessEngine",
    "init_args": {"engine": {"class_path": "TransformersEngine", "init_args": {"device": "cpu"}}, "threads": 1},
}
SERVER: Content = {
    "class_path": "VLLMServerEngine",
    "init_args": {
        "num_servers": 1,
        "options": {"dtype": "float32", "enforce_eager": True, "max_num_seqs": 64, "threads": 1},
    },
}
OPTIONS = ("--data.batch_size=4", "--trainer.accelerator=cpu")
batches: list[tuple[int, Rollouts]] = []
"""Of each batch the updates before it, and what was learnt from."""
weights: dict[int, dict[str, torch.Tensor]] = {}
"""The policy's, by the number of their updates."""


class Recorder(L.Callback):
    """Comes after the rollouts' callback."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        batches.clear()
        weights.clear()
        self._keep(trainer, pl_module)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        batches.append((trainer.global_step, batch.rollouts))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._keep(trainer, pl_module)

    def _keep(self, trainer: Any, module: Any) -> None:
        weights[trainer.global_step] = {name: tensor.clone() for name, tensor in module.policy_weights()}


def config(folder: Path, algorithm: str = "DAPO", max_new_tokens: int = 12, **rollout: Any) -> Path:
    """RLVR with two updates a batch; every third prompt's group is of no use, and replaced by DAPO."""
    folder.mkdir()
    recorder: Content = {"class_path": "tests.modules.test_overlap.Recorder"}
    dead = "int(source.rpartition(':')[2]) % 3 == 0"
    content = rewarded(folder, recorder, {"class_path": "SampleLog"}, dead=dead, max_new_tokens=max_new_tokens)
    content["trainer"]["callbacks"][0]["init_args"] |= {"probe": {"every": 1}} | rollout
    content["model"]["init_args"]["algorithm"] = {"class_path": algorithm}
    content["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 1e-2
    return write(content, folder / "rlvr.yaml")


def test_responses_are_those_of_the_weights_before_the_last_batch(tmp_path: Path) -> None:
    """And the probe, before every batch, finds engine and trainer alike."""
    fit(config(tmp_path / "config", engine=PROCESS, overlap=1), tmp_path / "run", *OPTIONS, "--trainer.max_steps=8")
    assert finished_updates(tmp_path / "run") == 8
    assert [step for step, _ in batches] == [0, 2, 4, 6]
    sampling = SamplingOptions(max_new_tokens=12, group_size=4)
    engine, from_ahead, replaced = TransformersEngine("cpu"), 0, 0
    engine.start("embedded/digits", 64, sampling)
    for step, rollouts in batches:
        for prompt, group in zip(rollouts.prompts, rollouts.responses, strict=True):
            version = group[0].version
            engine.take(weights[version].items(), version)

            def given(*words: int, prompt: Any = prompt) -> list[tuple[int, ...]]:
                answer = engine.answer([prompt], sampling, 0, "rollout", *words)
                return [response.token_ids for response in answer.flat_responses]

            own = [response.token_ids for response in group]
            if version == max(0, step - 2) and own == given(step, 0):
                from_ahead += 1
            else:
                # A further prompt's, sampled at the start of this batch, or of an earlier one that had it left over.
                assert version <= step
                assert any(own == given(version, attempt) for attempt in range(1, 11))
                replaced += 1
    assert from_ahead >= 8
    assert replaced
    # Of four groups the replaced ones are as new as the trainer.
    ages = [line["rollout/staleness"] for line in logged(tmp_path / "run", "rollout/staleness")]
    assert ages[0] == 0
    assert all(0 < age <= 2 for age in ages[1:])


class Failing(callbacks.RunFolder):
    """Ends the run at its fourth batch."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 6:
            raise StopError


@pytest.mark.ranks
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed")
def test_whichever_groups_are_finished_first(tmp_path: Path) -> None:
    """From a real server, with new weights amid the responses; the probe finds server and trainer alike at every batch.

    The run is ended and goes on, and learns all the same from each of its prompts once.
    """
    file = config(tmp_path / "config", "GRPO", 24, engine=SERVER, overlap=2, order="finished")
    options = (*OPTIONS, "--trainer.max_steps=10", "--checkpoint.every_n_train_steps=2")
    with pytest.raises(StopError):
        fit(file, tmp_path / "run", *options, run_folder=Failing)
    fit(file, tmp_path / "run", *options)
    assert finished_updates(tmp_path / "run") == 10
    # The second start's. Two batches of overlap are four updates.
    assert [step for step, _ in batches] == [6, 8]
    for step, rollouts in batches:
        assert len(rollouts.prompts) == 4
        assert all(max(6, step - 4) <= response.version <= step for response in rollouts.flat_responses)
    ages = [line["rollout/staleness"] for line in logged(tmp_path / "run", "rollout/staleness")]
    assert len(ages) == 5
    assert all(0 <= age <= 4 for age in ages)
    assert max(ages) > 0
    assert all(0 <= line["rollout/early_groups"] <= 0.5 for line in logged(tmp_path / "run", "rollout/early_groups"))
    given = config(tmp_path / "given", "GRPO", 1, engine={"class_path": "TransformersEngine"})
    fit(given, tmp_path / "in-turn", *OPTIONS, "--trainer.max_steps=10")
    learnt, expected = (sources(tmp_path / name) for name in ("run", "in-turn"))
    assert learnt == expected
    assert set(expected.values()) == {4}


def sources(run: Path) -> Counter[str]:
    """How many responses to each prompt were learnt from."""
    return Counter(line["source"] for line in read_lines(run / "samples.jsonl"))


def test_updates_of_the_batches_to_come() -> None:
    """Three batches teach the discriminator alone, of which one is done."""
    stage: Any = SimpleNamespace(
        cadence=CadenceOptions(policy_delay=3), batches_done=1, reuse=ReuseOptions(mini_batches=2, epochs=3)
    )
    assert [AdversarialAlignModule.updates_in(stage, count) for count in range(5)] == [0, 0, 0, 6, 12]
    assert [RLVRModule.updates_in(stage, count) for count in range(3)] == [0, 6, 12]


def test_without_overlap_a_process_changes_nothing(tmp_path: Path) -> None:
    for name, engine in (("own", {"class_path": "TransformersEngine"}), ("process", PROCESS)):
        fit(config(tmp_path / f"config-{name}", engine=engine), tmp_path / name, *OPTIONS, "--trainer.max_steps=4")
    own, process = (timeless(tmp_path / name) for name in ("own", "process"))
    assert max(line["step"] for line in own) == 4
    assert len(own) == len(process)
    # Not to the bit: on some processors the two compute log-probabilities that differ in their last digits. Weights that
    # are an update old differ in the first ones.
    for line, other in zip(own, process, strict=True):
        assert other == pytest.approx(line, rel=1e-5, abs=1e-6)
    assert (tmp_path / "own" / "samples.jsonl").read_bytes() == (tmp_path / "process" / "samples.jsonl").read_bytes()
