"""The engine of vLLM agrees with the trainer; without vLLM it says what to install."""

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from transformers import AutoTokenizer

from prism_pl.embedded import EMBEDDED_NAME, embedded_folder
from prism_pl.engines import ProcessEngine, RolloutEngine, VLLMEngine
from prism_pl.engines.vllm_engine import own_device
from prism_pl.errors import UserError
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt, SamplingOptions
from tests.prism_pl.engines.agreement import SAMPLING, ids, largest_gap, random_states


def test_a_missing_vllm_names_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"vllm is not installed.*\.\[vllm\].*TransformersEngine"):
        VLLMEngine().start("embedded/digits", 64, SamplingOptions(max_new_tokens=8))


@pytest.mark.parametrize("launcher", [{}, {"LOCAL_RANK": "0", "RANK": "5"}])
def test_each_process_has_its_own_gpu_whoever_started_it(monkeypatch: pytest.MonkeyPatch, launcher: dict[str, str]) -> None:
    """Rank 5 of a run whose strategy has taken GPU 3: under SLURM, which sets neither variable, and with chosen devices, of
    which the launcher's variable is no GPU's number."""
    for name in ("LOCAL_RANK", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    for name, value in (("is_initialized", True), ("get_world_size", 8), ("get_rank", 5)):
        monkeypatch.setattr(torch.distributed, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    with own_device() as arguments:
        assert arguments == {"distributed_executor_backend": "external_launcher"}
        assert (os.environ["RANK"], os.environ["LOCAL_RANK"]) == ("5", "3")
    # Lightning asks the launcher's variables at any time.
    assert {name: os.environ[name] for name in ("LOCAL_RANK", "RANK") if name in os.environ} == launcher


@pytest.fixture(scope="module", params=["here", "in a process of its own"])
def vllm_engine(embedded: str, request: pytest.FixtureRequest) -> Iterator[RolloutEngine]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    engine: RolloutEngine = VLLMEngine(dtype="float32", enforce_eager=True)
    if request.param != "here":
        engine = ProcessEngine(engine, threads=1)
    before, threads = random_states(), torch.get_num_threads()
    engine.start(EMBEDDED_NAME, 256, SAMPLING)
    assert random_states() == before
    assert torch.get_num_threads() == threads
    yield engine
    engine.close()


def test_vllm_agrees_with_the_trainer_before_and_after_sync(
    vllm_engine: RolloutEngine, policy: Policy, lively_policy: Policy, mixed_prompts: list[Prompt]
) -> None:
    """One test, since the engine takes seconds to start. Images of three shapes, none and two: ``generate`` itself raises
    if the engine's prompt ids differ from the trainer's."""
    seeds = [10, 20, 30, 40, 50]
    before = random_states()
    responses = vllm_engine.generate(mixed_prompts, seeds, SAMPLING)
    assert random_states() == before
    assert [len(group) for group in responses] == [3] * 5
    assert largest_gap(policy, mixed_prompts, responses) < 1e-4
    assert ids(vllm_engine.generate(mixed_prompts[1:2], [20], SAMPLING)) == ids(responses[1:2])
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder() / "model")
    for response in (response for group in responses for response in group):
        assert response.text == tokenizer.decode(response.token_ids, skip_special_tokens=True)
    # Greedy and sampled together are what they are apart.
    greedy = replace(SAMPLING, temperature=0.0, group_size=1)
    together = vllm_engine.generate_each(mixed_prompts, seeds, [greedy, SAMPLING])
    assert [ids(groups) for groups in together] == [ids(vllm_engine.generate(mixed_prompts, seeds, greedy)), ids(responses)]
    assert [len(group) for group in together[0]] == [1] * 5

    stranger = replace(mixed_prompts[0], input_ids=(*mixed_prompts[0].input_ids, 5), source="rows:3")
    with pytest.raises(UserError, match="rows:3: trainer and engine read the prompt differently"):
        vllm_engine.generate([stranger], [1], SAMPLING)

    vllm_engine.sync(lively_policy.weights())
    synced = vllm_engine.generate(mixed_prompts, seeds, SAMPLING)
    assert largest_gap(lively_policy, mixed_prompts, synced) < 1e-4
    # The old weights do not fit any more: nothing is left of them in a cache.
    assert largest_gap(policy, mixed_prompts, synced) > 1e-1
    hot = replace(SAMPLING, temperature=0.7)
    assert largest_gap(lively_policy, mixed_prompts, vllm_engine.generate(mixed_prompts, seeds, hot), 0.7) < 1e-4


def test_only_an_engine_on_a_gpu_sleeps() -> None:
    with pytest.raises(UserError, match="sleep_mode: only an engine on a GPU"):
        VLLMEngine(sleep_mode=True).check()


def test_a_sleeping_engine_gets_its_weights_before_it_has_room_for_keys_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM sleeps on GPUs alone, so here is what it is told, and when."""
    told: list[str] = []

    class Told:
        def __init__(self, name: str = "") -> None:
            self.name = name

        def __getattr__(self, name: str) -> "Told":
            return Told(name)

        def __call__(self, *arguments: object, **options: object) -> None:
            told.append(" ".join([self.name, *map(str, arguments), *(str(v) for k, v in options.items() if k != "kwargs")]))

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: told.append("empty_cache"))
    engine = VLLMEngine(sleep_mode=True)
    engine._llm = Told()
    synced = ["collective_rpc reload_weights", "reset_prefix_cache", "reset_mm_cache", "reset_encoder_cache"]
    engine.sync(iter(()))
    assert told == synced
    told.clear()
    engine.sleep()
    engine.sync(iter(()))
    assert told == ["sleep 2", "empty_cache", "wake_up ['weights']", *synced, "wake_up ['kv_cache']"]
    told.clear()
    engine.sync(iter(()))
    assert told == synced
    told.clear()
    engine.sleep_mode = False
    engine.sleep()
    assert told == []
