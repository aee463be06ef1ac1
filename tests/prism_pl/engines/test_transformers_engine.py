"""The engine of transformers: it agrees with the trainer's log-probabilities, and its seeds decide."""

import copy
from dataclasses import replace

import pytest
import torch

from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.engines import TransformersEngine
from prism_pl.engines.transformers_engine import _GumbelSampling
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt, SamplingOptions
from tests.plain_forward import plain_logits
from tests.prism_pl.engines.agreement import SAMPLING, ids, largest_gap, random_states


@pytest.fixture(scope="module")
def engine(embedded: str) -> TransformersEngine:
    engine = TransformersEngine(device="cpu")
    engine.start(EMBEDDED_NAME, 256, SAMPLING)
    return engine


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_engine_and_trainer_agree(
    engine: TransformersEngine, policy: Policy, mixed_prompts: list[Prompt], temperature: float
) -> None:
    """Images of three shapes, none and two in one batch."""
    sampling = replace(SAMPLING, temperature=temperature)
    before = random_states()
    responses = engine.generate(mixed_prompts, [10, 20, 30, 40, 50], sampling)
    assert random_states() == before
    assert [len(group) for group in responses] == [3] * 5
    assert all(len(r.engine_logp) == len(r.token_ids) <= 10 for group in responses for r in group)
    assert largest_gap(policy, mixed_prompts, responses, temperature) < 1e-4
    # The other temperature does not fit, so the temperature is really in both.
    assert largest_gap(policy, mixed_prompts, responses, 1.7 - temperature) > 1e-2


def test_a_response_does_not_depend_on_its_batch(engine: TransformersEngine, mixed_prompts: list[Prompt]) -> None:
    together = engine.generate(mixed_prompts, [10, 20, 30, 40, 50], SAMPLING)
    alone = engine.generate(mixed_prompts[1:2], [20], SAMPLING)
    assert ids(alone) == ids(together[1:2])
    backwards = engine.generate(mixed_prompts[::-1], [50, 40, 30, 20, 10], SAMPLING)
    assert ids(backwards) == ids(together)[::-1]
    smaller = TransformersEngine(device="cpu", batch_size=4)
    smaller.start(EMBEDDED_NAME, 256, SAMPLING)
    assert ids(smaller.generate(mixed_prompts, [10, 20, 30, 40, 50], SAMPLING)) == ids(together)


def test_seeds_decide_the_responses(engine: TransformersEngine, prompts: list[Prompt]) -> None:
    first, again, other = (engine.generate(prompts[:1], [seed], SAMPLING)[0] for seed in (7, 7, 8_000))
    assert first == again
    assert len({response.token_ids for response in (*first, *other)}) == 6


def test_a_small_top_p_leaves_the_most_likely_token_alone(engine: TransformersEngine, prompts: list[Prompt]) -> None:
    greedy = SamplingOptions(max_new_tokens=5, group_size=1, temperature=0.0)
    smallest = SamplingOptions(max_new_tokens=5, group_size=3, top_p=1e-6)
    best = [group[0].token_ids for group in engine.generate(prompts[:2], [1, 2], greedy)]
    responses = engine.generate(prompts[:2], [1, 2], smallest)
    assert [[response.token_ids for response in group] for group in responses] == [[ids] * 3 for ids in best]


def test_top_p_samples_from_the_nucleus_with_the_same_noise() -> None:
    # Of the probabilities 0.5, 0.3, 0.15, 0.05 the first two are the smallest set with at least 0.7.
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().repeat(1000, 1)
    drawn = [
        _GumbelSampling(1.0, top_p, [torch.Generator().manual_seed(seed) for seed in range(1000)])(logits, logits).argmax(
            -1
        )
        for top_p in (1.0, 0.7)
    ]
    assert set(drawn[0].tolist()) == {0, 1, 2, 3}
    assert set(drawn[1].tolist()) == {0, 1}
    # 0.5 / 0.8 of them are the first; three standard errors of a share in 1,000 draws are 0.046.
    assert (drawn[1] == 0).float().mean().item() == pytest.approx(0.625, abs=0.046)
    # Whoever was in the nucleus stays what it was.
    inside = drawn[0] < 2
    assert (drawn[0][inside] == drawn[1][inside]).all()


def test_temperature_zero_is_greedy(engine: TransformersEngine, policy: Policy, prompts: list[Prompt]) -> None:
    sampling = SamplingOptions(max_new_tokens=5, group_size=2, temperature=0.0)
    responses = engine.generate(prompts[:2], [1, 2], sampling)
    assert responses == engine.generate(prompts[:2], [3, 4], sampling)
    for prompt, (response, copy_of_it) in zip(prompts[:2], responses, strict=True):
        assert response == copy_of_it
        with torch.no_grad():
            logits_TV = plain_logits(policy, prompt, response.token_ids)
        assert logits_TV.argmax(-1).tolist() == list(response.token_ids)
    # The probability that goes with them is the one at temperature 1.
    assert largest_gap(policy, prompts[:2], responses) < 1e-4


def test_responses_end_at_the_end_token(engine: TransformersEngine, policy: Policy, prompts: list[Prompt]) -> None:
    sampling = SamplingOptions(max_new_tokens=16, group_size=32)
    responses = engine.generate(prompts[:3], [100, 200, 300], sampling)
    stops = set(policy.vlm.generation_config.eos_token_id)
    flat = [response for group in responses for response in group]
    # A near-uniform start model: 1 - (1 - 2 / 421)^16 = 7 % of 96 responses stop early, about 7.
    assert 0 < sum(not response.truncated for response in flat) < 30
    for response in flat:
        assert stops.isdisjoint(response.token_ids[:-1])
        assert response.truncated == (response.token_ids[-1] not in stops)
        assert not response.truncated or len(response.token_ids) == 16
        assert "<|im_end|>" not in response.text
        assert "<|endoftext|>" not in response.text
    assert largest_gap(policy, prompts[:3], responses) < 1e-4


def test_placeholders_are_never_sampled(engine: TransformersEngine, policy: Policy, prompts: list[Prompt]) -> None:
    """Their logits are raised far above all others, and still nobody says them."""
    loud = copy.deepcopy(policy)
    placeholders = [loud.vlm.config.image_token_id, loud.vlm.config.video_token_id]
    with torch.no_grad():
        # Tied to the output layer; as an input their embedding is replaced by the image's.
        loud.vlm.model.language_model.embed_tokens.weight[placeholders] *= 1000
    own = TransformersEngine(device="cpu")
    own.start(EMBEDDED_NAME, 256, SAMPLING)
    own.sync(loud.weights())
    responses = own.generate(prompts[:2], [1, 2], replace(SAMPLING, group_size=8))
    said = {token for group in responses for response in group for token in response.token_ids}
    assert said.isdisjoint(placeholders)
    assert largest_gap(loud, prompts[:2], responses) < 1e-4


def test_sync_takes_the_new_weights(policy: Policy, lively_policy: Policy, mixed_prompts: list[Prompt]) -> None:
    engine = TransformersEngine(device="cpu")
    engine.start(EMBEDDED_NAME, 256, SAMPLING)
    engine.sync(lively_policy.weights())
    responses = engine.generate(mixed_prompts, [1, 2, 3, 4, 5], SAMPLING)
    assert largest_gap(lively_policy, mixed_prompts, responses) < 1e-4
    assert largest_gap(policy, mixed_prompts, responses) > 1e-1
    # A copy, not a reference: the trainer's next update does not reach the engine before the next sync.
    engine.sync(policy.weights())
    responses = engine.generate(mixed_prompts, [1, 2, 3, 4, 5], SAMPLING)
    assert largest_gap(policy, mixed_prompts, responses) < 1e-4
    assert largest_gap(lively_policy, mixed_prompts, responses) > 1e-1


def test_sync_refuses_incomplete_weights(engine: TransformersEngine, policy: Policy) -> None:
    weights = [(name, tensor) for name, tensor in policy.weights() if not name.endswith("layers.1.mlp.up_proj.weight")]
    with pytest.raises(AssertionError, match=r"not synced: .*layers\.1\.mlp\.up_proj\.weight"):
        engine.sync(weights)
