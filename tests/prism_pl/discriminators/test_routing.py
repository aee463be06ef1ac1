"""Which experts tokens are sent to, and the balance loss: by hand, in parts, for any packing, with its gradient."""

import copy
import gc
import weakref
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prism_pl.data.conversation import PromptEncoder
from prism_pl.discriminators import (
    DedicatedExpertsDiscriminator,
    Discriminator,
    Scorer,
    SharedMixtureDiscriminator,
    TextOnlyDiscriminator,
)
from prism_pl.discriminators.base import Mixture
from prism_pl.discriminators.routing import Usage, balance_loss
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from prism_pl.game import ScoringBatch, make_scoring_batch, score
from prism_pl.model.packing import PackedBatch, make_groups, micro_batches, pack
from prism_pl.types import Prompt
from tests.plain_forward import add_noise

MIXTURES = [
    DedicatedExpertsDiscriminator(),
    DedicatedExpertsDiscriminator(num_perception=3, num_reasoning=2, num_shared=1),
    DedicatedExpertsDiscriminator(num_perception=0, num_reasoning=1, num_shared=3, top_k=3),
    TextOnlyDiscriminator(num_perception=4),
    SharedMixtureDiscriminator(num_experts=5, top_k=3),
]


def short(leaf: Mixture) -> str:
    """The class and how many experts each kind reaches."""
    return f"{type(leaf).__name__}-{[sum(row) for row in leaf.reach()]}-top{leaf.top_k}"


@pytest.fixture(scope="module")
def choosy(discriminator: Scorer) -> Scorer:
    """Three experts a kind, of which a token gets two: the balance loss has a gradient for every kind. Copy to change."""
    mixture = DedicatedExpertsDiscriminator(num_perception=3, num_reasoning=3, noise=0.1).build(EMBEDDED_NAME, "test")
    add_noise(mixture, 0.2, "mlp.gate.weight")
    return mixture.eval()


def routers(mixture: Scorer) -> list[torch.nn.Parameter]:
    found = [parameter for name, parameter in mixture.named_parameters() if name.endswith("mlp.gate.weight")]
    assert len(found) == 3
    return found


def usage_of(scorer: Scorer, scoring: ScoringBatch, max_tokens: int) -> Usage:
    batches = micro_batches(scoring.groups, max_tokens)
    usage = score(scorer, scoring, ((pack(batch), False) for batch in batches)).usage
    assert usage is not None
    return usage


@pytest.fixture(scope="module")
def scoring(prompts: list[Prompt], encoder: PromptEncoder, choosy: Scorer) -> ScoringBatch:
    """Six prompts with three responses each: other rows' teachers."""
    texts = [[prompts[(p + step) % 6].teacher for step in (1, 2, 3)] for p in range(6)]
    return make_scoring_batch(prompts, texts, encoder.tokenizer, choosy.reading)


def test_reach_by_hand() -> None:
    # One expert of perception, two of reasoning, one of both; the prompt may reach all.
    leaf = DedicatedExpertsDiscriminator(num_perception=1, num_reasoning=2, num_shared=1)
    assert leaf.reach() == [[True] * 4, [True, False, False, True], [False, True, True, True]]


@pytest.mark.parametrize("leaf", MIXTURES, ids=short)
def test_tokens_get_only_experts_that_their_kind_may_reach(
    leaf: Mixture, packed: PackedBatch, aspect_B: torch.Tensor
) -> None:
    mixture = leaf.build(EMBEDDED_NAME, "test").eval()
    with torch.no_grad():
        # A router that wants the same few experts for all: only the mask keeps tokens from them.
        for router in routers(mixture):
            router.copy_(torch.linspace(3, -3, len(router))[:, None] * router[:1].sign())
        _, usage = mixture(packed, aspect_B)
    assert usage is not None
    reach_CE = torch.tensor(leaf.reach())
    # Five prompts, each with a perception segment of 3 tokens and a reasoning segment of 2.
    prompt_tokens = len(packed.part_N) - 25
    assert usage.tokens_C.tolist() == [prompt_tokens, 15, 10]
    assert usage.count_LCE.shape == usage.probability_LCE.shape == (3, *reach_CE.shape)
    assert usage.count_LCE[:, ~reach_CE].sum() == 0
    assert usage.probability_LCE[:, ~reach_CE].sum() == 0
    # Every token is sent to top_k experts, and its probabilities sum to one.
    assert torch.equal(usage.count_LCE.sum(-1), leaf.top_k * usage.tokens_C.expand(3, -1))
    torch.testing.assert_close(usage.probability_LCE.sum(-1), usage.tokens_C.expand(3, -1))


def test_swapped_kinds_use_swapped_experts(discriminator: Scorer, packed: PackedBatch, aspect_B: torch.Tensor) -> None:
    """The kind is given by the segment's role alone: with all segments called reasoning nobody uses perception's."""
    with torch.no_grad():
        _, usage = discriminator(packed, torch.ones_like(aspect_B))
    assert usage.tokens_C[1:].tolist() == [0, 25]
    assert usage.count_LCE[:, 1:, :2].sum() == 0
    # top_k is 2 and reasoning has 2 experts: each gets every token in each of 3 layers.
    assert usage.count_LCE[:, 2, 2:].tolist() == [[25, 25]] * 3


@pytest.mark.parametrize(
    ("leaf", "options", "kind", "reached"),
    [
        (DedicatedExpertsDiscriminator, {"num_perception": 1}, "perception", 1),
        (DedicatedExpertsDiscriminator, {"num_reasoning": 0, "num_shared": 1}, "reasoning", 1),
        (TextOnlyDiscriminator, {"top_k": 3}, "perception", 2),
        (SharedMixtureDiscriminator, {"num_experts": 4, "top_k": 5}, "prompt", 4),
    ],
)
def test_too_few_experts_for_a_kind_are_refused_before_anything_is_loaded(
    leaf: type[Discriminator], options: dict[str, int], kind: str, reached: int
) -> None:
    message = rf"{leaf.__name__}: top_k is \d, but {kind} tokens reach only {reached} experts"
    with pytest.raises(UserError, match=message):
        leaf(**options)


def test_balance_loss_by_hand() -> None:
    """Two experts, top 1: 4 prompt tokens and 6 perception tokens that reach both, 2 that reach only the second."""
    tokens_C = torch.tensor([4.0, 6.0, 2.0])
    reach_CE = torch.tensor([[True, True], [True, True], [False, True]])
    count_CE = torch.tensor([[3.0, 1.0], [6.0, 0.0], [0.0, 2.0]])
    probability_CE = torch.tensor([[2.5, 1.5], [4.2, 1.8], [0.0, 2.0]])
    usage = Usage(tokens_C, count_CE[None], probability_CE[None])
    # Prompt: 2 (3/4 * 2.5/4 + 1/4 * 1.5/4) = 1.125; perception: 2 (1 * 4.2/6) = 1.4; reasoning: 1 (1 * 2/2) = 1.
    # Weighted by tokens: (4 * 1.125 + 6 * 1.4 + 2 * 1) / 12 = 14.9 / 12.
    assert balance_loss(usage, usage, reach_CE).item() == pytest.approx(14.9 / 12)
    # A second layer of even use, where each kind has its top_k = 1: the mean of both.
    even_CE = torch.tensor([[2.0, 2.0], [3.0, 3.0], [0.0, 2.0]])
    both = Usage(tokens_C, torch.stack([count_CE, even_CE]), torch.stack([probability_CE, even_CE]))
    assert balance_loss(both, both, reach_CE).item() == pytest.approx((14.9 / 12 + 1) / 2)


def test_balance_loss_gradient_by_hand() -> None:
    """Only the probabilities carry it: |reach| f / N for each, whatever the probabilities are."""
    probability_LCE = torch.tensor([[[2.5, 1.5], [0.0, 0.0], [0.0, 0.0]]], requires_grad=True)
    usage = Usage(torch.tensor([4.0, 0.0, 0.0]), torch.tensor([[[3.0, 1.0], [0.0, 0.0], [0.0, 0.0]]]), probability_LCE)
    balance_loss(usage, usage, torch.ones(3, 2, dtype=torch.bool)).backward()
    # 2 * 3/4 / 4 and 2 * 1/4 / 4; kinds without tokens have none.
    torch.testing.assert_close(probability_LCE.grad, torch.tensor([[[0.375, 0.125], [0.0, 0.0], [0.0, 0.0]]]))


def test_load_by_hand() -> None:
    """Mean probability over 2 layers; a kind without tokens has none."""
    probability_LCE = torch.tensor([[[3.0, 1.0], [1.0, 1.0], [0.0, 0.0]], [[1.0, 3.0], [2.0, 0.0], [0.0, 0.0]]])
    usage = Usage(torch.tensor([4.0, 2.0, 0.0]), torch.zeros(2, 3, 2), probability_LCE)
    # Prompt (3 + 1) / 8 and (1 + 3) / 8; perception (1 + 2) / 4 and (1 + 0) / 4.
    assert usage.load_CE().tolist() == [[0.5, 0.5], [0.75, 0.25], [0.0, 0.0]]


def random_usage(tokens: Sequence[int], seed: int) -> Usage:
    """Of two layers and three experts, top 2, with any probabilities."""
    generator = torch.Generator().manual_seed(seed)
    tokens_C = torch.tensor(tokens, dtype=torch.float64)
    count_LCE = torch.rand(2, 3, 3, generator=generator, dtype=torch.float64)
    probability_LCE = torch.rand(2, 3, 3, generator=generator, dtype=torch.float64)
    scale_1C1 = tokens_C[None, :, None]
    return Usage(
        tokens_C,
        2 * scale_1C1 * count_LCE / count_LCE.sum(-1, keepdim=True),
        scale_1C1 * probability_LCE / probability_LCE.sum(-1, keepdim=True),
    )


kind_counts = st.lists(st.integers(0, 50), min_size=3, max_size=3)


@given(parts=st.lists(kind_counts, min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_the_balance_losses_of_parts_sum_to_that_of_the_whole(parts: list[list[int]], seed: int) -> None:
    usages = [random_usage(tokens, seed + index) for index, tokens in enumerate(parts)]
    whole = usages[0]
    for usage in usages[1:]:
        whole = whole + usage
    assert whole.tokens_C.tolist() == [sum(column) for column in zip(*parts, strict=True)]
    reach_CE = torch.ones(3, 3, dtype=torch.bool)
    if whole.tokens_C.sum() == 0:
        return
    total = sum(float(balance_loss(usage, whole, reach_CE)) for usage in usages)
    expected = float(balance_loss(whole, whole, reach_CE))
    assert total == pytest.approx(expected, rel=1e-9)
    assert 0 < expected <= 3 * 2, "at most |reach| times top_k"


def test_the_balance_loss_does_not_depend_on_packing(choosy: Scorer, scoring: ScoringBatch) -> None:
    whole = usage_of(choosy, scoring, 100_000)
    expected = balance_loss(whole, whole, choosy.routing.reach_CE)
    counts = []
    for budget in (1500, 400):
        batches = micro_batches(scoring.groups, budget)
        counts.append(len(batches))
        parts = [choosy(packed, scoring.aspect_N[packed.order_B])[1] for packed in map(pack, batches)]
        total = sum(balance_loss(part, whole, choosy.routing.reach_CE) for part in parts)
        torch.testing.assert_close(total, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(usage_of(choosy, scoring, budget).count_LCE, whole.count_LCE)
    assert 1 < counts[0] < counts[1]
    assert expected > 2.01, "even use would hide a mistake"


@pytest.mark.parametrize("leaf", MIXTURES, ids=short)
def test_an_indifferent_router_has_a_balance_loss_of_top_k(
    leaf: Mixture, packed: PackedBatch, aspect_B: torch.Tensor
) -> None:
    mixture = leaf.build(EMBEDDED_NAME, "test").eval()
    with torch.no_grad():
        for router in routers(mixture):
            router.zero_()
        _, usage = mixture(packed, aspect_B)
    # Probabilities are 1/r for the r experts in reach, and shares sum to top_k: r * top_k * 1/r, for each kind.
    assert balance_loss(usage, usage, mixture.routing.reach_CE).item() == pytest.approx(leaf.top_k, rel=1e-5)


def test_padding_does_not_count(choosy: Scorer, prompts: list[Prompt]) -> None:
    """Together and padded, and alone: the same tokens, counts and probabilities."""
    groups = make_groups(prompts[:2], [[(5,)], [(6,) * 60]])
    packed = pack(groups, multiple=256)
    assert not packed.real_N.all()
    with torch.no_grad():
        _, together = choosy(packed, torch.tensor([0, 1]))
        alone = [choosy(pack([group]), torch.tensor([index]))[1] for index, group in enumerate(groups)]
    total = alone[0] + alone[1]
    lengths = [len(prompt.input_ids) for prompt in prompts[:2]]
    assert together.tokens_C.tolist() == total.tokens_C.tolist() == [sum(lengths), 1, 60]
    assert torch.equal(together.count_LCE, total.count_LCE)
    torch.testing.assert_close(together.probability_LCE, total.probability_LCE)


def router_gradients(mixture: Scorer, packed: PackedBatch, aspect_B: torch.Tensor, weight: float) -> list[torch.Tensor]:
    """Of the scores' sum plus ``weight`` times the balance loss."""
    score_B, usage = mixture(packed, aspect_B)
    whole = Usage(usage.tokens_C, usage.count_LCE, usage.probability_LCE.detach())
    loss = score_B.sum() + weight * balance_loss(usage, whole, mixture.routing.reach_CE)
    loss.backward()
    found = [router.grad.clone() for router in routers(mixture)]
    mixture.zero_grad(set_to_none=True)
    return found


def test_checkpointing_keeps_the_routers_gradient(choosy: Scorer, packed: PackedBatch, aspect_B: torch.Tensor) -> None:
    leaf = DedicatedExpertsDiscriminator(num_perception=3, num_reasoning=3, noise=0.1, gradient_checkpointing=True)
    checkpointed = leaf.build(EMBEDDED_NAME, "test")
    checkpointed.load_state_dict(choosy.state_dict())
    checkpointed.train()
    plain = copy.deepcopy(choosy).train()
    calls = []
    gate = checkpointed.model.language_model.layers[1].mlp.gate
    handle = gate.register_forward_hook(lambda *_: calls.append(1))
    by_weight = {}
    for weight in (0.0, 1.0, 100.0):
        by_weight[weight] = router_gradients(checkpointed, packed, aspect_B, weight)
        for actual, expected in zip(by_weight[weight], router_gradients(plain, packed, aspect_B, weight), strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-6 * max(1.0, weight), rtol=1e-4)
    handle.remove()
    assert len(calls) == 2 * 3, "each pass runs the layer again in its backward"
    for layer in range(3):
        without, once, hundredfold = (by_weight[weight][layer] for weight in (0.0, 1.0, 100.0))
        alone = once - without
        # The coefficient counts, and linearly.
        assert alone.norm() > 1e-3
        torch.testing.assert_close(hundredfold - without, 100 * alone, atol=1e-3 * float(100 * alone.norm()), rtol=0)


def test_checkpointing_keeps_nothing_that_was_computed_again(packed: PackedBatch, aspect_B: torch.Tensor) -> None:
    """What a router decided hangs on its layer's activations: kept after the backward, it would undo the saving."""
    leaf = DedicatedExpertsDiscriminator(num_perception=3, num_reasoning=3, gradient_checkpointing=True)
    mixture = leaf.build(EMBEDDED_NAME, "test").train()
    chosen: list[weakref.ref] = []
    for layer in mixture.model.language_model.layers:
        layer.mlp.gate.register_forward_hook(lambda _, __, output: chosen.append(weakref.ref(output[2])))
    router_gradients(mixture, packed, aspect_B, 1.0)
    gc.collect()
    assert len(chosen) == 2 * 3
    assert [decision() for decision in chosen] == [None] * 6


def test_the_balance_loss_alone_trains_the_router(choosy: Scorer, packed: PackedBatch, aspect_B: torch.Tensor) -> None:
    mixture = copy.deepcopy(choosy)

    def walk(steps: int, length: float) -> float:
        """Moves the routers along the gradient of the balance loss, which it returns."""
        for _ in range(steps):
            _, usage = mixture(packed, aspect_B)
            balance = balance_loss(usage, usage, mixture.routing.reach_CE)
            balance.backward()
            assert mixture.head.weight.grad is None
            with torch.no_grad():
                for router in routers(mixture):
                    assert router.grad.abs().max() > 0
                    router += length * router.grad / router.grad.norm()
            mixture.zero_grad(set_to_none=True)
        return balance.item()

    # Even use gives top_k = 2; if the same two of 3 took every token it would be 3, of 6 it would be 6.
    uneven = walk(10, 0.3)
    assert uneven > 3
    assert walk(20, -0.3) < 2 + 0.5 * (uneven - 2)
