"""Attention over a packed batch: every segment sees its group's prompt and itself.

``shared_prefix``: prompts and segments are taken out of the packed batch as ordinary batches; the cost is
sum_b T_b (P + T_b), not the (P + sum_b T_b)^2 of a dense mask. ``flex_attention``, on a GPU: the same by a compiled block
mask. Both give the plain sequence's result (tested).
"""

from functools import cache
from typing import Any, Literal

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from prism_pl.errors import UserError
from prism_pl.model.shared_prefix import Layout, shared_prefix_attention

Attention = Literal["auto", "shared_prefix", "flex_attention"]

BLOCK = 128
"""Tokens of a block of FlexAttention's mask: a packed batch for it is a whole number of blocks."""


def use_attention(model: Any, attention: Attention) -> None:
    """Sets the attention of a ``Qwen3VLModel``'s language model; the vision tower keeps SDPA.

    ``auto`` is ``flex_attention`` where the tensors are on a GPU and ``shared_prefix`` elsewhere. Raises UserError for
    ``flex_attention`` without a GPU: it computes there, but does not train.
    """
    if attention == "flex_attention" and not torch.cuda.is_available():
        raise UserError("model.attention: flex_attention trains on a GPU only, and there is none; take auto.")
    # Not by set_attn_implementation: it knows only what transformers itself has declared for this architecture.
    model.language_model.config._attn_implementation = f"packed_{attention}"


def padded_shape(attention: Attention, device: torch.device, max_tokens: int) -> tuple[int, int]:
    """The least length of a packed micro-batch and what it is a multiple of: for a block mask one shape to compile for, of
    whole blocks."""
    return (max_tokens, BLOCK) if takes_block_mask(attention, device) else (0, 1)


def takes_block_mask(attention: Attention, device: torch.device) -> bool:
    """Whether an attention is ``flex_attention`` on a device."""
    return attention == "flex_attention" or (attention == "auto" and device.type == "cuda")


def attention_of(model: Any) -> Attention:
    """What ``use_attention`` has set; ``auto`` if it never has."""
    name = model.language_model.config._attn_implementation
    return name.removeprefix("packed_") if name.startswith("packed_") else "auto"


def block_mask(part_N: torch.Tensor, prefix_N: torch.Tensor) -> BlockMask:
    """For FlexAttention: blocks that no query of theirs may see are never computed. ``part_N`` is -1 where padded."""

    def allowed(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        part = part_N[key]
        return (query >= key) & ((part == prefix_N[query]) | (part == part_N[query])) & (part >= 0)

    # Compiled, it never holds the N x N mask, which would be 1.7 GB of temporaries at 20,000 tokens.
    create = _compiled_mask() if part_N.is_cuda else create_block_mask
    return create(allowed, None, None, len(part_N), len(part_N), device=part_N.device)


@cache
def _compiled_mask() -> Any:
    return torch.compile(create_block_mask)


@cache
def _compiled_flex() -> Any:
    return torch.compile(flex_attention)


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    layout: Layout | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: (1, A, N, D) to (1, N, A, D). Without a layout it is stock SDPA."""
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    scale = options["scaling"]
    if isinstance(attention_mask, BlockMask):
        # Normalised in fp32, queries and keys may be more precise than the values beside them.
        output = _compiled_flex()(
            query.to(value.dtype), key.to(value.dtype), value, block_mask=attention_mask, scale=scale, enable_gqa=True
        )
        return output.transpose(1, 2), None
    query_NAD, key_NKD, value_NKD = (values[0].transpose(0, 1) for values in (query, key, value))
    return shared_prefix_attention(query_NAD, key_NKD, value_NKD, layout, scale)[None], None


for _name in ("auto", "shared_prefix", "flex_attention"):
    AttentionInterface.register(f"packed_{_name}", _attend)
    AttentionMaskInterface.register(f"packed_{_name}", sdpa_mask)
