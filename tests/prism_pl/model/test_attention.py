"""Who sees whom: the buckets and the block mask against the rule, token by token."""

import copy
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_mask

from prism_pl.errors import UserError
from prism_pl.model import attention
from prism_pl.model.attention import Layout, Part, block_mask, make_layout, use_attention
from prism_pl.model.packing import PackedBatch, make_groups, pack
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt

group_sizes = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.integers(1, 20), min_size=1, max_size=6)), min_size=1, max_size=5
)


def packed_texts(sizes: list[tuple[int, list[int]]], num_tokens: int = 0) -> PackedBatch:
    prompts = [Prompt("r", "", (1,) * size, (1,) * size, torch.arange(size).expand(3, -1)) for size, _ in sizes]
    return pack(make_groups(prompts, [[(2,) * n for n in own] for _, own in sizes]), num_tokens)


def rule_NN(packed: PackedBatch) -> torch.Tensor:
    """allowed(i, j) = j <= i and (part_j = prefix_i or part_j = part_i), and j is no padding."""
    part_N, prefix_N = packed.part_N, packed.prefix_N
    seen_NN = (part_N[None] == prefix_N[:, None]) | (part_N[None] == part_N[:, None])
    return seen_NN.tril() & packed.real_N


def seen_NN(layout: Layout, num_tokens: int) -> torch.Tensor:
    """What the buckets let each token see, read at the places that its output comes from."""
    rows = []
    for bucket in layout.buckets:
        count, width = bucket.own_BT.shape
        keys_BS, mask_BTS = bucket.own_BT, torch.ones(width, width, dtype=torch.bool).tril().expand(count, -1, -1)
        if bucket.prefix_PU is not None:
            keys_BS, mask_BTS = torch.cat([bucket.prefix_PU[bucket.prefix_B], keys_BS], 1), bucket.mask_B1TS[:, 0]
        for keys_S, mask_TS in zip(keys_BS, mask_BTS, strict=True):
            for mask_S in mask_TS:
                rows.append(torch.bincount(keys_S[mask_S], minlength=num_tokens))
    return torch.stack(rows)[layout.place_N]


def test_buckets_by_hand() -> None:
    """Prompts of 2 and 5 tokens, segments of 3, 1 and 4: 5 and 2 apart, 4 and 3 together, 1 apart."""
    first, second = Part(0, 2), Part(6, 5)
    layout = make_layout([first, Part(2, 3, first), Part(5, 1, first), second, Part(11, 4, second)], 15)
    assert [bucket.own_BT.tolist() for bucket in layout.buckets] == [
        [[6, 7, 8, 9, 10]],
        [[0, 1]],
        [[11, 12, 13, 14], [2, 3, 4, 0]],
        [[5]],
    ]
    assert [bucket.mask_B1TS is None for bucket in layout.buckets] == [True, True, False, False]
    third = layout.buckets[2]
    assert third.prefix_PU.tolist() == [[6, 7, 8, 9, 10], [0, 1, 0, 0, 0]]
    assert third.prefix_B.tolist() == [0, 1]
    # The second segment's queries: two of five prefix places, then its own, causal.
    assert third.mask_B1TS[1, 0].int().tolist() == [
        [1, 1, 0, 0, 0, 1, 0, 0, 0],
        [1, 1, 0, 0, 0, 1, 1, 0, 0],
        [1, 1, 0, 0, 0, 1, 1, 1, 0],
        [1, 1, 0, 0, 0, 1, 1, 1, 1],
    ]
    # Outputs: 0-4 and 5-6 prompts, 7-10 and 11-14 segments, 15 the last.
    assert layout.place_N.tolist() == [5, 6, 11, 12, 13, 15, 0, 1, 2, 3, 4, 7, 8, 9, 10]


@given(sizes=group_sizes, padding=st.integers(0, 5))
@settings(max_examples=100)
def test_every_token_sees_exactly_what_it_may(sizes: list[tuple[int, list[int]]], padding: int) -> None:
    real = sum(size + sum(own) for size, own in sizes)
    packed = packed_texts(sizes, real + padding)
    found_NN = seen_NN(packed.layout, real + padding)
    # Once, not twice: a key seen twice would weigh twice.
    assert torch.equal(found_NN[:real], rule_NN(packed)[:real].long())


@given(sizes=group_sizes, limit=st.integers(1, 600))
@settings(max_examples=50)
def test_masks_are_bounded(sizes: list[tuple[int, list[int]]], limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "_MASK_ELEMENTS", limit)
        packed = packed_texts(sizes)
    for bucket in packed.layout.buckets:
        assert bucket.mask_B1TS is None or bucket.mask_B1TS.numel() <= limit or len(bucket.own_BT) == 1
    real = len(packed.part_N)
    assert torch.equal(seen_NN(packed.layout, real), rule_NN(packed).long())


@given(sizes=group_sizes)
@settings(max_examples=50)
def test_buckets_are_at_most_half_padding(sizes: list[tuple[int, list[int]]]) -> None:
    packed = packed_texts(sizes)
    assert sum(bucket.own_BT.numel() for bucket in packed.layout.buckets) < 2 * len(packed.part_N)


@given(sizes=group_sizes, padding=st.integers(0, 5))
@settings(max_examples=50)
def test_the_block_mask_is_the_rule(sizes: list[tuple[int, list[int]]], padding: int) -> None:
    length = sum(size + sum(own) for size, own in sizes) + padding
    packed = packed_texts(sizes, length)
    mask = create_mask(block_mask(packed.part_N, packed.prefix_N).mask_mod, 1, None, length, length, device="cpu")
    assert torch.equal(mask[0, 0], rule_NN(packed))


def test_a_lone_segment_and_its_prompt_are_one_sequence_without_a_mask() -> None:
    """A prompt of 3 with one segment of 4: one causal row of 7. With a second segment the prompt is a row of its own."""
    (bucket,) = packed_texts([(3, [4])]).layout.buckets
    assert bucket.own_BT.tolist() == [list(range(7))]
    assert bucket.mask_B1TS is None
    assert [len(b.own_BT[0]) for b in packed_texts([(3, [4, 4])]).layout.buckets] == [3, 4]


def test_flex_attention_needs_a_gpu(policy: Policy) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=r"model.attention: flex_attention trains on a GPU only"):
        use_attention(policy.vlm.model, "flex_attention")


@pytest.mark.skipif(shutil.which("g++") is None, reason="FlexAttention is compiled, which needs g++ on a CPU")
@torch.no_grad()
def test_flex_attention_gives_the_log_probabilities_of_the_shared_prefix(
    policy: Policy, mixed_prompts: list[Prompt]
) -> None:
    other = copy.deepcopy(policy)
    other.vlm.model.language_model.config._attn_implementation = "flex_attention"
    assert other.vlm.model.visual.config._attn_implementation == "sdpa"
    groups = make_groups(mixed_prompts, [[(5, 6, 7), (8,)] for _ in mixed_prompts])
    expected_BT, _ = policy(pack(groups))
    # Padded as on a GPU.
    actual_BT, _ = other(pack(groups, 512, 128))
    torch.testing.assert_close(actual_BT, expected_BT, rtol=1e-5, atol=1e-5)
