"""Engines in processes of their own say what one engine says, and their ends are noticed."""

import os
import signal

import pytest
import torch

from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.engines import SeveralEngines, TransformersEngine, VLLMEngine, on_devices
from prism_pl.engines.worker import environment
from prism_pl.errors import UserError
from prism_pl.types import Prompt
from tests.prism_pl.engines.agreement import SAMPLING, ids

SEEDS = [10, 20, 30, 40, 50]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(TransformersEngine("cpu"), id="TransformersEngine"),
        pytest.param(VLLMEngine(dtype="float32", enforce_eager=True), id="VLLMEngine", marks=pytest.mark.ranks),
    ],
)
def test_two_engines_answer_as_one(kind: TransformersEngine | VLLMEngine, mixed_prompts: list[Prompt]) -> None:
    """Five prompts: three for the first, two for the second; then one prompt, for which the second has nothing."""
    alone = TransformersEngine("cpu")
    alone.start(EMBEDDED_NAME, 256, SAMPLING)
    engine = on_devices(kind, 2)
    engine.start(EMBEDDED_NAME, 256, SAMPLING)
    answered = [engine.generate(mixed_prompts, SEEDS, SAMPLING), engine.generate(mixed_prompts[:1], SEEDS[:1], SAMPLING)]
    if isinstance(kind, TransformersEngine):
        expected = [alone.generate(mixed_prompts, SEEDS, SAMPLING), alone.generate(mixed_prompts[:1], SEEDS[:1], SAMPLING)]
        assert [ids(groups) for groups in answered] == [ids(groups) for groups in expected]
        # Weights that are all zero make every token as likely as the others: a sync has reached both.
        engine.sync((name, torch.zeros_like(tensor)) for name, tensor in alone._policy.weights())
        lines = [response.engine_logp for group in engine.generate(mixed_prompts, SEEDS, SAMPLING) for response in group]
        assert len({round(value, 4) for line in lines for value in line}) == 1
    assert [len(groups) for groups in answered] == [5, 1]
    # The same prompt with the same seed, beside others and alone.
    assert ids(answered[0])[0] == ids(answered[1])[0]
    engine.close()


def test_an_error_and_an_end_in_a_worker_are_raised(mixed_prompts: list[Prompt]) -> None:
    engine = SeveralEngines(TransformersEngine("cpu"), 2)
    with pytest.raises(UserError, match=r"no/such/model"):
        engine.start("no/such/model", 256, SAMPLING)
    engine = SeveralEngines(TransformersEngine("cpu"), 2)
    engine.start(EMBEDDED_NAME, 256, SAMPLING)
    process = engine._workers[1].process
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with pytest.raises(RuntimeError, match=r"device 1 ended with code -9"):
        engine.generate(mixed_prompts, SEEDS, SAMPLING)


def test_each_worker_sees_one_gpu_of_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="devices: 3, but this machine has 2 GPUs"):
        on_devices(VLLMEngine(), 3)
    for visible, expected in (("4,6", ["4", "6"]), (None, ["0", "1"])):
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert [environment(1, number)["CUDA_VISIBLE_DEVICES"] for number in range(2)] == expected
