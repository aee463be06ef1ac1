"""Packed batches of any sizes, and the rule of who sees whom in them."""

import torch
from hypothesis import strategies as st

from prism_pl.model.packing import PackedBatch, make_groups, pack
from prism_pl.types import Prompt

group_sizes = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.integers(1, 20), min_size=1, max_size=6)), min_size=1, max_size=5
)
"""Groups: a prompt's tokens, and those of each of its segments."""


def packed_texts(sizes: list[tuple[int, list[int]]], num_tokens: int = 0) -> PackedBatch:
    prompts = [Prompt("r", "", (1,) * size, (1,) * size, torch.arange(size).expand(3, -1)) for size, _ in sizes]
    return pack(make_groups(prompts, [[(2,) * n for n in own] for _, own in sizes]), num_tokens)


def rule_NN(packed: PackedBatch) -> torch.Tensor:
    """allowed(i, j) = j <= i and (part_j = prefix_i or part_j = part_i), and j is no padding."""
    part_N, prefix_N = packed.part_N, packed.prefix_N
    seen_NN = (part_N[None] == prefix_N[:, None]) | (part_N[None] == part_N[:, None])
    return seen_NN.tril() & packed.real_N
