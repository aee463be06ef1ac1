"""Which attention a model takes, and FlexAttention's mask against the rule, token by token."""

import copy
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_mask

from prism_pl.errors import UserError
from prism_pl.model.attention import attention_of, block_mask, takes_block_mask, use_attention
from prism_pl.model.packing import make_groups, pack
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt
from tests.prism_pl.model.packed_texts import group_sizes, packed_texts, rule_NN


@given(sizes=group_sizes, padding=st.integers(0, 5))
@settings(max_examples=50)
def test_the_block_mask_is_the_rule(sizes: list[tuple[int, list[int]]], padding: int) -> None:
    length = sum(size + sum(own) for size, own in sizes) + padding
    packed = packed_texts(sizes, length)
    mask = create_mask(block_mask(packed.part_N, packed.prefix_N).mask_mod, 1, None, length, length, device="cpu")
    assert torch.equal(mask[0, 0], rule_NN(packed))


def test_the_attention_follows_the_device_unless_it_is_named(policy: Policy) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 1)
    assert attention_of(policy.vlm.model) == "auto"
    assert [takes_block_mask("auto", device) for device in (cpu, cuda)] == [False, True]
    assert [takes_block_mask("shared_prefix", device) for device in (cpu, cuda)] == [False, False]
    own = copy.deepcopy(policy)
    use_attention(own.vlm.model, "shared_prefix")
    assert attention_of(own.vlm.model) == "shared_prefix"


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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        use_attention(other.vlm.model, "flex_attention")
    assert other.vlm.model.visual.config._attn_implementation == "sdpa"
    groups = make_groups(mixed_prompts, [[(5, 6, 7), (8,)] for _ in mixed_prompts])
    expected_BT, _ = policy(pack(groups))
    # Padded as on a GPU.
    actual_BT, _ = other(pack(groups, 512, 128))
    torch.testing.assert_close(actual_BT, expected_BT, rtol=1e-5, atol=1e-5)
