"""The layout by hand, and the merged attentions against one softmax under the rule's mask, forward and backward."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_pl.model import shared_prefix
from prism_pl.model.packing import PackedBatch
from prism_pl.model.shared_prefix import (
    Part,
    attend,
    attend_backward,
    attend_backward_plainly,
    attend_plainly,
    make_layout,
    shared_prefix_attention,
)
from tests.prism_pl.model.packed_texts import group_sizes, packed_texts, rule_NN

SCALE = 0.7
Tensors = tuple[torch.Tensor, ...]


def random_heads(num_tokens: int, heads: int, shared: int, dtype: torch.dtype, size: int = 8) -> Tensors:
    """Queries, keys and values, (N, heads, D)."""
    generator = torch.Generator().manual_seed(num_tokens)
    counts = (heads, shared, shared)
    # Large enough for uneven probabilities: at near-uniform ones a wrong share would hide.
    return tuple(2 * torch.randn(num_tokens, n, size, dtype=dtype, generator=generator) for n in counts)


def plain_attention(
    query_NAD: torch.Tensor, key_NKD: torch.Tensor, value_NKD: torch.Tensor, mask_NN: torch.Tensor
) -> torch.Tensor:
    """One softmax over all keys, each head of keys and values repeated for its heads of queries."""
    repeats = query_NAD.shape[1] // key_NKD.shape[1]
    key_NAD, value_NAD = key_NKD.repeat_interleave(repeats, 1), value_NKD.repeat_interleave(repeats, 1)
    score_ANN = SCALE * torch.einsum("iad,jad->aij", query_NAD, key_NAD)
    probability_ANN = torch.softmax(score_ANN.masked_fill(~mask_NN, -torch.inf), -1)
    return torch.einsum("aij,jad->iad", probability_ANN, value_NAD)


def both(packed: PackedBatch, heads: int, shared: int, dtype: torch.dtype) -> tuple[Tensors, Tensors]:
    """Outputs of real tokens and gradients of queries, keys and values: of the merged attentions and of the plain one."""
    real_N = packed.real_N
    found = []
    for attention in (
        lambda *values: shared_prefix_attention(*values, packed.layout, SCALE),
        lambda *values: plain_attention(*values, rule_NN(packed)),
    ):
        values = [value.requires_grad_() for value in random_heads(len(real_N), heads, shared, dtype)]
        output_NAD = attention(*values)[real_N]
        # A different weight a number, so that no two errors cancel.
        weight = torch.linspace(-1, 2, output_NAD.numel(), dtype=dtype).reshape(output_NAD.shape)
        found.append((output_NAD, *torch.autograd.grad((output_NAD * weight).sum(), values)))
    return found[0], found[1]


@pytest.fixture(params=["kernels", "plainly"])
def products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of the two products: the CPU's kernels, and whole matrices, which other devices take."""
    if request.param == "plainly":
        monkeypatch.setattr(shared_prefix, "attend", attend_plainly)
        monkeypatch.setattr(shared_prefix, "attend_backward", attend_backward_plainly)
    return request.param


@given(sizes=group_sizes, padding=st.integers(0, 5), heads=st.sampled_from([(1, 1), (4, 2), (6, 1)]))
@settings(max_examples=60)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_merged_attentions_are_one_softmax(
    dtype: torch.dtype, tolerance: float, sizes: list[tuple[int, list[int]]], padding: int, heads: tuple[int, int]
) -> None:
    packed = packed_texts(sizes, sum(size + sum(own) for size, own in sizes) + padding)
    merged, plain = both(packed, *heads, dtype)
    for ours, expected in zip(merged, plain, strict=True):
        torch.testing.assert_close(
            ours, expected, rtol=tolerance, atol=tolerance * max(1.0, float(expected.detach().abs().max()))
        )


@pytest.mark.parametrize("sizes", [[(700, [300, 290, 5])], [(3, [1] * 40), (600, [513, 64, 65])]])
def test_long_rows_too(products: str, sizes: list[tuple[int, list[int]]]) -> None:
    """Longer than one block of a kernel."""
    merged, plain = both(packed_texts(sizes), 4, 2, torch.float64)
    for ours, expected in zip(merged, plain, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("causal", [True, False])
def test_the_kernels_are_the_plain_products(causal: bool) -> None:
    """The sums too, which an attention does not show by itself; and a merged attention's backward."""
    query, key, value = (part.unflatten(0, (2, 30)) for part in random_heads(60, 4, 2, torch.float64))
    kernel, plain = (one(query, key, value, scale=SCALE, causal=causal) for one in (attend, attend_plainly))
    torch.testing.assert_close(kernel, plain, rtol=1e-12, atol=1e-12)
    output, sums = plain
    # As if other keys had taken more than half of each query's probability.
    merged, sums = torch.flip(output, (1,)), sums + 1
    backward: list[Callable[..., Tensors]] = [attend_backward, attend_backward_plainly]
    kernel, plain = (
        one(2 * output, query, key, value, merged, sum_BTA=sums, scale=SCALE, causal=causal) for one in backward
    )
    torch.testing.assert_close(kernel, plain, rtol=1e-12, atol=1e-12)


def test_bfloat16_is_as_exact_as_its_numbers(products: str) -> None:
    packed = packed_texts([(40, [20, 9, 20]), (5, [30])], 150)
    merged, plain = both(packed, 4, 2, torch.bfloat16)
    _, exact = both(packed, 4, 2, torch.float64)
    for ours, others, truth in zip(merged, plain, exact, strict=True):
        # No further from the truth than twice the plain softmax in bf16.
        assert (ours - truth).norm() < 2 * (others - truth).norm()


def test_queries_and_keys_take_the_precision_of_the_values() -> None:
    """Norms in fp32 beside projections in bf16: the result and its products are bf16."""
    packed = packed_texts([(4, [3, 2])])
    query, key, value = random_heads(9, 4, 2, torch.float32)
    mixed = shared_prefix_attention(query, key, value.bfloat16(), packed.layout, SCALE)
    assert mixed.dtype == torch.bfloat16
    low = shared_prefix_attention(query.bfloat16(), key.bfloat16(), value.bfloat16(), packed.layout, SCALE)
    assert torch.equal(mixed, low)


def test_padding_is_zero_and_has_no_gradient() -> None:
    packed = packed_texts([(4, [3, 2])], 12)
    values = [value.requires_grad_() for value in random_heads(12, 4, 2, torch.float32)]
    output_NAD = shared_prefix_attention(*values, packed.layout, SCALE)
    assert output_NAD[9:].tolist() == torch.zeros(3, 4, 8).tolist()
    for gradient in torch.autograd.grad(output_NAD.sum(), values):
        assert gradient[9:].abs().max() == 0
        assert gradient[:9].abs().max() > 0


def test_layout_by_hand() -> None:
    """Prompts of 2 and 5 tokens, segments of 3, 1 and 4: 5, 4 and 3 together, 2 apart with no other, 1 apart."""
    first, second = Part(0, 2), Part(6, 5)
    layout = make_layout([first, Part(2, 3, first), Part(5, 1, first), second, Part(11, 4, second)])
    assert [bucket.place_BT.tolist() for bucket in layout.buckets] == [
        [[6, 7, 8, 9, 10], [11, 12, 13, 14, 0], [2, 3, 4, 0, 0]],
        [[0, 1]],
        [[5]],
    ]
    assert layout.buckets[0].padded_BT.int().tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 1]]
    assert [(block.keys, block.queries) for block in layout.blocks] == [
        (slice(0, 2), slice(2, 6)),
        (slice(6, 11), slice(11, 15)),
    ]
    # Outputs: 0 to 14 the first bucket, 15 and 16 the second, 17 the last.
    assert layout.place_R.tolist() == [15, 16, 10, 11, 12, 17, 0, 1, 2, 3, 4, 5, 6, 7, 8]


@given(sizes=group_sizes)
@settings(max_examples=50)
def test_buckets_are_at_most_half_padding(sizes: list[tuple[int, list[int]]]) -> None:
    packed = packed_texts(sizes)
    assert sum(bucket.place_BT.numel() for bucket in packed.layout.buckets) < 2 * len(packed.part_N)


def test_a_lone_segment_and_its_prompt_are_one_sequence() -> None:
    """A prompt of 3 with one segment of 4: one causal row of 7. With a second segment the prompt is a row of its own."""
    layout = packed_texts([(3, [4])]).layout
    (bucket,) = layout.buckets
    assert bucket.place_BT.tolist() == [list(range(7))]
    assert not layout.blocks
    layout = packed_texts([(3, [4, 4])]).layout
    assert [bucket.place_BT.shape for bucket in layout.buckets] == [(3, 4)]
    assert layout.blocks[0].queries == slice(3, 11)


def test_segments_that_do_not_follow_one_another_are_refused() -> None:
    prompt = Part(0, 2)
    with pytest.raises(AssertionError):
        make_layout([prompt, Part(2, 1, prompt), Part(3, 1), Part(4, 1, prompt)])
