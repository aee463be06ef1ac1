"""An engine in a process of its own: what it says, in which order, and what becomes of it and its asker when one dies."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.engines import ProcessEngine, TransformersEngine
from prism_pl.engines.shared_weights import SharedWeights, read
from prism_pl.errors import UserError
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt
from tests.command_line import own_environment
from tests.prism_pl.engines.agreement import SAMPLING
from tests.prism_pl.engines.odd_engine import SAMPLING as ODD
from tests.prism_pl.engines.odd_engine import OddEngine, prompt

WEIGHTS = {
    "fp32": torch.arange(5.0),
    "bf16": torch.ones(2, 3, dtype=torch.bfloat16),
    "integer": torch.full((3,), 2),
    "scalar": torch.tensor(2.0),
}
SUM = 10 + 6 + 6 + 2


def weights(factor: int = 1) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, tensor * factor) for name, tensor in WEIGHTS.items())


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ProcessEngine]:
    engine = ProcessEngine(OddEngine(tmp_path), threads=1)
    engine.start("none", 1, ODD)
    engine.take(weights(), 3)
    yield engine
    engine.close()


def test_responses_are_those_of_the_engine_to_the_bit(
    lively_policy: Policy, policy: Policy, mixed_prompts: list[Prompt]
) -> None:
    """Under the start's weights and under others, which were sent after the first were asked for and before they came."""
    alone, process = TransformersEngine("cpu"), ProcessEngine(TransformersEngine("cpu"), threads=1)
    for own in (alone, process):
        own.start(EMBEDDED_NAME, 256, SAMPLING)
    pending = process.submit(mixed_prompts, [SAMPLING], "first")
    before = {name: tensor.clone() for name, tensor in lively_policy.weights()}
    process.take(before.items(), 7)
    # It has its own copy.
    for tensor in before.values():
        tensor.zero_()
    later = process.answer(mixed_prompts, SAMPLING, "second")
    (first,) = pending.result()
    assert pending.unseen_seconds > 0
    assert process.precision == torch.float32
    process.close()
    assert first.responses == alone.answer(mixed_prompts, SAMPLING, "first").responses
    alone.take(lively_policy.weights(), 7)
    assert later.responses == alone.answer(mixed_prompts, SAMPLING, "second").responses
    assert {response.version for response in first.flat_responses} == {0}
    assert {response.version for response in later.flat_responses} == {7}


def test_order_errors_and_one_death(engine: ProcessEngine, caplog: pytest.LogCaptureFixture) -> None:
    """One process for all of it, for a start is what costs."""
    old = engine.submit([prompt("a")], [ODD])
    engine.take(weights(2), 4)
    new = engine.submit([prompt("b")], [ODD])
    # Read in another order than asked.
    for pending, version, total in ((new, 4, 2 * SUM), (old, 3, SUM)):
        (rollouts,) = pending.result()
        assert {(response.version, response.engine_logp) for response in rollouts.flat_responses} == {(version, (total,))}
    # More than any pipe holds, both ways, with nobody reading; of a view only what it shows.
    large = torch.zeros(1000, 1000)
    many = [engine.submit([prompt("c", large)] * 4, [ODD]) for _ in range(8)]
    many += [engine.submit([prompt("c", large[:1])] * 2000, [ODD]) for _ in range(3)]
    assert [len(pending.result()[0].prompts) for pending in many] == [4] * 8 + [2000] * 3
    with pytest.raises(KeyError, match="mine") as caught:
        engine.answer([prompt("fail")], ODD)
    assert "in generate" in caught.value.__notes__[0]
    # The engine dies with a batch asked for and newer weights on their way: it has these when it is asked anew.
    pending = engine.submit([prompt("die once")], [ODD])
    engine.take(weights(3), 5)
    (rollouts,) = pending.result()
    assert {(response.version, response.engine_logp) for response in rollouts.flat_responses} == {(5, (3 * SUM,))}
    assert 'The engine\'s process ended with code -9. Its last words: "alas". It is started again with' in caplog.text
    assert "the weights of update 5, 1 of 2 times" in caplog.text


def test_a_process_that_is_of_no_use_any_more_is_given_up(engine: ProcessEngine) -> None:
    engine.restarts = 1
    with pytest.raises(
        RuntimeError, match=r'code -9. Its last words: "alas". It was started again 1 times for this answer'
    ):
        engine.answer([prompt("die")], ODD)
    engine.restarts = 0
    engine.start("none", 1, ODD)
    with pytest.raises(RuntimeError, match=r"The engine's process has answered what cannot be read \(ValueError"):
        engine.answer([prompt("garbage")], ODD)
    engine.start("none", 1, ODD)
    assert engine._worker is not None
    engine._worker._time_limit = 1.0
    with pytest.raises(RuntimeError, match=r"The engine's process has not answered for 1 seconds"):
        engine.answer([prompt("stop")], ODD)


def test_an_asker_that_is_killed_leaves_no_engine(tmp_path: Path) -> None:
    """Not even one that is in the middle of a batch."""
    command = [sys.executable, "-m", "tests.prism_pl.engines.odd_engine", str(tmp_path)]
    asker = subprocess.Popen(command, env=own_environment())
    while not (tmp_path / "pid").exists():
        assert asker.poll() is None
        time.sleep(0.05)
    process = psutil.Process(int((tmp_path / "pid").read_text()))
    asker.kill()
    asker.wait()
    process.wait(60)


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ProcessEngine.devices: \[7\], but this machine has (no|\d) GPU"):
        ProcessEngine(OddEngine(tmp_path), devices=[7]).check()


def test_shared_weights_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prism_pl.engines.shared_weights._BLOCK", 128)
    shared = SharedWeights()
    own = {"a": torch.arange(20.0), "b": torch.arange(20.0) + 1, "c": torch.ones(100), "d": torch.tensor(3)}
    assert shared.write(own.items())
    # 80 bytes fill 128 so far that the next ones need a block of their own, as what is larger than a block does.
    assert [place.block for place in shared.places] == [0, 1, 2, 3]
    assert not shared.write((name, -tensor) for name, tensor in own.items())
    found = dict(read(shared._blocks, shared.places))
    assert all(torch.equal(found[name], -tensor) for name, tensor in own.items())
