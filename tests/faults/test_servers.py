"""vLLM servers that are killed while they sample: nothing is lost but time."""

import importlib.util
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.engines import VLLMServerEngine
from prism_pl.engines.server_pool import NoServerLeftError
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt, SamplingOptions
from prism_pl.vllm_server import ServerOptions
from tests.prism_pl.engines.agreement import ids, largest_gap, trainer_logp

SAMPLING = SamplingOptions(max_new_tokens=100, group_size=16)
OPTIONS = ServerOptions(dtype="float32", enforce_eager=True, max_num_seqs=64, threads=1)

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed"),
]


def two_servers(folder: Path, restarts: int) -> VLLMServerEngine:
    """Started; their logs are in the folder."""
    engine = VLLMServerEngine(num_servers=2, options=OPTIONS, restarts=restarts, log_folder=str(folder))
    engine.start(EMBEDDED_NAME, 256, SAMPLING)
    return engine


def kill(engine: VLLMServerEngine, number: int) -> None:
    """All processes of a server but its guard."""
    assert engine._own is not None
    port = engine._own.servers[number].url.rpartition(":")[2]
    alive = (child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE)
    (guard,) = (child for child in alive if {"-I", port} <= set(child.cmdline()))
    for process in guard.children(recursive=True):
        os.kill(process.pid, signal.SIGKILL)


def test_one_dies_in_a_batch_and_is_back_with_new_weights(
    embedded: Path,
    mixed_prompts: list[Prompt],
    lively_policy: Policy,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    engine = two_servers(tmp_path, restarts=1)
    engine.take(lively_policy.weights(), 3)
    whole = engine.answer(mixed_prompts, SAMPLING, "x")
    assert engine._pool is not None
    assert [server.asked for server in engine._pool.servers] == [3, 2]

    # One dies with prompts open: the other gives what it would have given.
    pending = engine.submit(mixed_prompts, [SAMPLING] * 3, "x")
    kill(engine, 0)
    for rollouts in pending.result():
        assert ids(rollouts.responses) == ids(whole.responses)
    assert [server.client.name for server in engine._pool.usable] == ["vLLM server 1"]
    (message,) = caplog.messages
    assert message.startswith("vLLM server 0 cannot be reached (")
    assert 'It is left out, and what it was asked is asked elsewhere. Its last words: "' in message
    assert f"Its log: {tmp_path / 'server0.log'}." in message

    # With new weights it is back.
    engine.take(lively_policy.weights(), 4)
    assert caplog.messages[-1] == "vLLM server 0 was started again, and gets the newest weights."
    assert len(engine._pool.usable) == 2
    pending = engine.submit(mixed_prompts, [SAMPLING], "x")
    (again,) = pending.result()
    assert ids(again.responses) == ids(whole.responses)
    assert {response.version for response in again.flat_responses} == {4}
    assert largest_gap(lively_policy, mixed_prompts, again.responses) < 1e-4
    engine.close()


def test_one_dies_amid_responses_that_new_weights_reach(
    embedded: Path,
    mixed_prompts: list[Prompt],
    policy: Policy,
    lively_policy: Policy,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """Its responses begin anew elsewhere or in its next life, with whatever weights are the newest then."""
    engine = two_servers(tmp_path, restarts=1)
    engine.take(policy.weights(), 3)
    pending = engine.submit(mixed_prompts, [SAMPLING] * 3, "x")
    kill(engine, 0)
    assert engine._pool is not None
    while len(engine._pool.usable) == 2:
        time.sleep(0.01)
    assert not pending.is_done
    engine.take(lively_policy.weights(), 4, in_flight=True)
    assert caplog.messages[-1] == "vLLM server 0 was started again, and gets the newest weights."
    assert len(engine._pool.usable) == 2
    versions = set()
    for rollouts in pending.result():
        versions |= {response.version for response in rollouts.flat_responses}
        for group, prompt in zip(rollouts.responses, rollouts.prompts, strict=True):
            for response in group:
                # Wholly of the old weights, wholly of the new ones, or of both one after the other.
                said_T = torch.tensor(response.engine_logp)
                old_T, new_T = (trainer_logp(own, [prompt], [[response]])[0] for own in (policy, lively_policy))
                old, new = ((said_T - own_T).abs() < 1e-4 for own_T in (old_T, new_T))
                assert bool((old | new).all())
                assert response.version == (3 if old[0] else 4)
    assert 4 in versions
    again = engine.answer(mixed_prompts, SAMPLING, "y")
    assert largest_gap(lively_policy, mixed_prompts, again.responses) < 1e-4
    engine.close()


def test_one_dies_with_half_of_the_weights_and_then_the_other(
    embedded: Path,
    mixed_prompts: list[Prompt],
    lively_policy: Policy,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    engine = two_servers(tmp_path, restarts=0)
    assert engine._pool is not None

    def killing() -> Iterator[tuple[str, torch.Tensor]]:
        for number, named in enumerate(lively_policy.weights()):
            if number == 60:
                kill(engine, 1)
            yield named

    # About twenty requests.
    monkeypatch.setattr("prism_pl.engines.server_weights._CHUNK", 2**18)
    engine.take(killing(), 5)
    assert [server.client.name for server in engine._pool.usable] == ["vLLM server 0"]
    (message,) = caplog.messages
    assert message.startswith("vLLM server 1 ")
    # The other one has all of them.
    rollouts = engine.answer(mixed_prompts, SAMPLING, "x")
    assert {response.version for response in rollouts.flat_responses} == {5}
    assert largest_gap(lively_policy, mixed_prompts, rollouts.responses) < 1e-4

    kill(engine, 0)
    with pytest.raises(NoServerLeftError, match=r"(?=.*vLLM server 0 cannot be reached)(?=.*vLLM server 1 )"):
        engine.answer(mixed_prompts, SAMPLING, "x")
    # None may be started again.
    with pytest.raises(NoServerLeftError, match=r"(?=.*vLLM server 0 )(?=.*vLLM server 1 )"):
        engine.take(lively_policy.weights(), 6)
    engine.close()
