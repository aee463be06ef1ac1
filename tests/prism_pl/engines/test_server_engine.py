"""The engine of vLLM servers with a real one, which the engine starts: what it says, and of which weights."""

import importlib.util
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.engines import RolloutEngine, VLLMEngine, VLLMServerEngine
from prism_pl.engines.own_servers import EXTENSION, OwnServers
from prism_pl.engines.server_pool import NoServerLeftError
from prism_pl.errors import UserError
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt, Rollouts
from prism_pl.vllm_server import ServerOptions
from tests.prism_pl.engines.agreement import SAMPLING, ids, largest_gap, trainer_logp

OPTIONS = ServerOptions(dtype="float32", enforce_eager=True, max_num_seqs=64, threads=1)
GREEDY = replace(SAMPLING, temperature=0.0, group_size=1)


@pytest.fixture(scope="module")
def server_engine(embedded: str) -> Iterator[VLLMServerEngine]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    engine = VLLMServerEngine(num_servers=1, options=OPTIONS)
    engine.start(EMBEDDED_NAME, 256, SAMPLING)
    yield engine
    engine.close()
    assert not [child for child in psutil.Process().children() if "guard.py" in " ".join(child.cmdline())]


@pytest.fixture(scope="module")
def in_process(embedded: str, server_engine: VLLMServerEngine) -> Iterator[RolloutEngine]:
    engine = VLLMEngine(dtype="float32", enforce_eager=True, max_num_seqs=64)
    engine.start(EMBEDDED_NAME, 256, SAMPLING)
    yield engine
    engine.close()


def assert_alike(own: Rollouts, other: Rollouts) -> None:
    """The same tokens, of the same weights. Log-probabilities may differ by what the order of a sum does."""
    assert ids(own.responses) == ids(other.responses)
    assert own.texts == other.texts
    for one, another in zip(own.flat_responses, other.flat_responses, strict=True):
        assert (one.truncated, one.version) == (another.truncated, another.version)
        assert one.engine_logp == pytest.approx(another.engine_logp, abs=1e-5)


def test_responses_are_those_of_vllm_in_this_process(
    server_engine: VLLMServerEngine,
    in_process: RolloutEngine,
    mixed_prompts: list[Prompt],
    policy: Policy,
    lively_policy: Policy,
) -> None:
    """With images of three shapes, none and two; greedy and sampled together; of the folder's weights, and of others."""
    assert server_engine.precision == torch.float32
    pending = server_engine.submit(mixed_prompts, [GREEDY, SAMPLING], "x")
    server_engine.take(lively_policy.weights(), 7)
    later = server_engine.answer(mixed_prompts, SAMPLING, "x")
    for own, other in zip(pending.result(), in_process.answer_each(mixed_prompts, [GREEDY, SAMPLING], "x"), strict=True):
        assert_alike(own, other)
        assert largest_gap(policy, mixed_prompts, own.responses, own.sampling.temperature or 1.0) < 1e-4
    in_process.take(lively_policy.weights(), 7)
    assert_alike(later, in_process.answer(mixed_prompts, SAMPLING, "x"))
    assert {response.version for response in later.flat_responses} == {7}
    assert largest_gap(lively_policy, mixed_prompts, later.responses) < 1e-4
    assert largest_gap(policy, mixed_prompts, later.responses) > 1e-1
    hot = replace(SAMPLING, temperature=0.7)
    assert_alike(server_engine.answer(mixed_prompts, hot, "y"), in_process.answer(mixed_prompts, hot, "y"))


def test_new_weights_reach_responses_that_are_half_sampled(
    server_engine: VLLMServerEngine, mixed_prompts: list[Prompt], policy: Policy, lively_policy: Policy
) -> None:
    """Each of their tokens has the probability that the weights of its time give it, after all tokens before it: keys and
    values of the old weights would give another one."""
    long = replace(SAMPLING, max_new_tokens=180)
    server_engine.take(policy.weights(), 3)
    # Once these have ended, the long ones have begun.
    short = server_engine.submit(mixed_prompts[:1], [replace(SAMPLING, max_new_tokens=30)], "x")
    pending = server_engine.submit(mixed_prompts, [long], "x")
    short.result()
    assert not pending.is_done
    server_engine.take(lively_policy.weights(), 4, in_flight=True)
    assert not pending.is_done
    later = server_engine.submit(mixed_prompts, [SAMPLING], "x")
    (both,), (new,) = pending.result(), later.result()
    assert {response.version for response in both.flat_responses} == {3}
    assert {response.version for response in new.flat_responses} == {4}
    assert largest_gap(lively_policy, mixed_prompts, new.responses) < 1e-4
    old_rows, new_rows = (trainer_logp(own, mixed_prompts, both.responses) for own in (policy, lively_policy))
    halves = 0
    for response, old_T, new_T in zip(both.flat_responses, old_rows, new_rows, strict=True):
        said_T = torch.tensor(response.engine_logp)
        wrong_T = (said_T - old_T).abs() > 1e-4
        first = int(wrong_T.int().argmax()) if wrong_T.any() else len(said_T)
        if 0 < first < len(said_T):
            halves += 1
            assert float((said_T[first:] - new_T[first:]).abs().max()) < 1e-4
    assert halves > len(both.flat_responses) / 2
    server_engine.take(policy.weights(), 5)


def test_a_prompt_that_the_server_reads_differently_is_named(
    server_engine: VLLMServerEngine, mixed_prompts: list[Prompt]
) -> None:
    stranger = replace(mixed_prompts[0], input_ids=(*mixed_prompts[0].input_ids, 5), source="rows:3")
    with pytest.raises(UserError, match="rows:3: trainer and engine read the prompt differently"):
        server_engine.answer([stranger], SAMPLING, "x")


def test_weights_of_another_run_do_not_answer_unnoticed(
    server_engine: VLLMServerEngine, mixed_prompts: list[Prompt], lively_policy: Policy, policy: Policy
) -> None:
    """The other run finds the same server by its address, and gives it weights of its own."""
    assert server_engine._own is not None
    (url,) = [server.url for server in server_engine._own.servers]
    other = VLLMServerEngine(urls=[f"{url}/"])
    server_engine.take(lively_policy.weights(), 8)
    other.start(EMBEDDED_NAME, 200, SAMPLING)
    with pytest.raises(NoServerLeftError, match=rf"The vLLM server {url} has sampled with weights \w+-8, not with default"):
        other.answer(mixed_prompts, SAMPLING, "x")
    other.take(policy.weights(), 8)
    assert largest_gap(policy, mixed_prompts, other.answer(mixed_prompts, SAMPLING, "x").responses) < 1e-4
    with pytest.raises(NoServerLeftError, match=r"vLLM server 0 has sampled with weights \w+-8, not with \w+-8"):
        server_engine.answer(mixed_prompts, SAMPLING, "x")
    other.close()
    # It is not started again: what it lacks is its weights.
    server_engine.take(lively_policy.weights(), 9)
    assert [server.url for server in server_engine._own.servers] == [url]
    again = server_engine.answer(mixed_prompts, SAMPLING, "x")
    assert largest_gap(lively_policy, mixed_prompts, again.responses) < 1e-4


def test_a_server_that_was_started_in_another_way_is_refused(server_engine: VLLMServerEngine) -> None:
    assert server_engine._own is not None
    (url,) = [server.url for server in server_engine._own.servers]
    for tokens, group_size, option in ((9990, 3, "--max-model-len 10000, and has 266"), (200, 65, "--max-num-seqs 65")):
        with pytest.raises(UserError, match=f"The vLLM server {url} must be started with {option}"):
            VLLMServerEngine(urls=[url]).start(EMBEDDED_NAME, tokens, replace(SAMPLING, group_size=group_size))
    with pytest.raises(NoServerLeftError, match=r"The vLLM server http://127\.0\.0\.1:9 cannot be reached"):
        VLLMServerEngine(urls=["http://127.0.0.1:9"]).start(EMBEDDED_NAME, 200, SAMPLING)


def test_the_last_server_dies(server_engine: VLLMServerEngine, mixed_prompts: list[Prompt]) -> None:
    """The last test: it ends what the others use."""
    (guard,) = (child for child in psutil.Process().children() if "guard.py" in " ".join(child.cmdline()))
    long = replace(SAMPLING, max_new_tokens=100)
    pending = server_engine.submit(mixed_prompts, [long] * 4, "x")
    for process in guard.children(recursive=True):
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(NoServerLeftError, match=r"vLLM server 0 cannot be reached.*goes on from the newest checkpoint"):
        pending.result()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "it has no server. Set num_servers"),
        ({"urls": ["node:8000"]}, r"urls: http://host:port is needed.*'node:8000'"),
        ({"urls": ["http://node:8000/v1"]}, r"urls: http://host:port is needed.*'http://node:8000/v1'"),
        ({"urls": ["http://node"]}, r"urls: http://host:port is needed.*'http://node'"),
        ({"urls": ["http://node:1", "http://node:1/"]}, "urls: one of them stands there twice"),
    ],
)
def test_options_that_make_no_engine_are_refused(arguments: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=f"^VLLMServerEngine.*{why}"):
        VLLMServerEngine(**arguments)


@pytest.mark.parametrize("transfer", ["nccl", "gloo"])
def test_the_page_s_command_starts_a_server_as_the_engine_does(transfer: str, tmp_path: Path) -> None:
    """But for what is the reader's own, and for what only makes the log short."""
    own = OwnServers("model", 100, ServerOptions(), transfer, [None], 0, str(tmp_path)).servers[0]._arguments
    needed = " ".join(own[own.index("--logprobs-mode") :])
    assert needed.endswith(f" --worker-extension-cls {EXTENSION}" if transfer == "gloo" else " --enable-scale-out")
    video = own.index("--limit-mm-per-prompt")
    needed += " " + " ".join(own[video : video + 2])
    page = " ".join(Path("docs/scaling.md").read_text().replace("\\\n", " ").replace("'", "").replace("`", "").split())
    for option in re.findall(r"--\S+(?: (?!--).*?)?(?= --|$)", needed):
        assert option in page, option


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (
            {"num_servers": 1, "devices": [0]},
            "devices: they are the GPUs of servers that are started here, and there are none",
        ),
        ({"urls": ["http://node:1"], "transfer": "nccl"}, "transfer: nccl needs a trainer on a GPU"),
    ],
)
def test_what_needs_a_gpu_is_refused_without(arguments: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=f"^VLLMServerEngine.{why}"):
        VLLMServerEngine(**arguments).check()


def test_each_server_needs_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    two = ServerOptions(tensor_parallel_size=2)
    for devices in (None, [1, 2], [0, 1, 2, 2], [1, 2, 3, 4]):
        with pytest.raises(UserError, match=r"^VLLMServerEngine.devices: 2 servers of tensor_parallel_size 2 need 4 GPUs"):
            VLLMServerEngine(num_servers=2, options=two, devices=devices).check()
    VLLMServerEngine(num_servers=2, options=two, devices=[3, 2, 1, 0], transfer="gloo").check()
