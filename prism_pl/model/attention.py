"""Attention over a packed batch: every segment sees its group's prompt and itself, and nothing else is computed.

    softmax([q k_prompt^T, mask(q k_own^T)] / sqrt(d)) [v_prompt; v_own]

``shared_prefix``, everywhere: prompts and segments are taken out of the packed batch as two kinds of ordinary batches; the
cost is sum_b T_b (P + T_b), not the (P + sum_b T_b)^2 of a dense mask. ``flex_attention``, on a GPU: the same by a compiled
block mask. Both give the plain sequence's result (tested).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from prism_pl.errors import UserError

Attention = Literal["shared_prefix", "flex_attention"]

_MASK_ELEMENTS = 2**26
"""Of a bucket's mask at most: 64 MiB."""


@dataclass(frozen=True)
class Part:
    """A prompt (``prefix`` is None) or a segment (``prefix`` is its prompt) in the packed batch."""

    start: int
    size: int
    prefix: "Part | None" = None

    @property
    def num_prefix(self) -> int:
        """Tokens that it sees before its own."""
        return self.prefix.size if self.prefix else 0


@dataclass(frozen=True)
class Bucket:
    """B parts of like length as a batch of their own, padded to T tokens. Indices are places in the packed batch."""

    own_BT: torch.Tensor
    prefix_PU: torch.Tensor | None
    """The P prompts that the segments continue, padded to U tokens; None for prompts, which continue nothing."""
    prefix_B: torch.Tensor
    mask_B1TS: torch.Tensor | None
    """True where a query may see a key of [prefix, own]; None where causal is all."""


@dataclass(frozen=True)
class Layout:
    """How N packed tokens become batches, and back."""

    buckets: tuple[Bucket, ...]
    place_N: torch.Tensor
    """Each token's place in the buckets' outputs, one after the other; padding reads the first."""

    def to(self, device: torch.device) -> "Layout":
        buckets = (
            Bucket(**{k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in vars(bucket).items()})
            for bucket in self.buckets
        )
        return Layout(tuple(buckets), self.place_N.to(device))


def make_layout(parts: Sequence[Part], num_tokens: int) -> Layout:
    """Prompts and segments by length, each bucket at most half padding."""
    place_N = torch.zeros(num_tokens, dtype=torch.long)
    buckets, offset = [], 0
    prompts = [part for part in parts if part.prefix is None]
    segments = [part for part in parts if part.prefix is not None]
    for members in (*_alike(prompts), *_alike(segments)):
        bucket = _bucket(members)
        width = bucket.own_BT.shape[1]
        for row, part in enumerate(members):
            start = offset + row * width
            place_N[part.start : part.start + part.size] = torch.arange(start, start + part.size)
        offset += bucket.own_BT.numel()
        buckets.append(bucket)
    return Layout(tuple(buckets), place_N)


def _alike(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts in lists whose longest is less than twice the shortest and whose masks are bounded."""
    lists: list[list[Part]] = []
    prefix = 0
    for part in sorted(parts, key=lambda part: -part.size):
        if lists:
            longest = lists[-1][0].size
            keys = max(prefix, part.num_prefix) + longest
            if 2 * part.size > longest and (len(lists[-1]) + 1) * longest * keys <= _MASK_ELEMENTS:
                lists[-1].append(part)
                prefix = max(prefix, part.num_prefix)
                continue
        lists.append([part])
        prefix = part.num_prefix
    return lists


def _bucket(members: Sequence[Part]) -> Bucket:
    own_BT = _indices(members)
    prefixes = list(dict.fromkeys(part.prefix for part in members if part.prefix is not None))
    if not prefixes:
        return Bucket(own_BT, None, torch.zeros(len(members), dtype=torch.long), None)
    prefix_PU = _indices(prefixes)
    size_B11 = torch.tensor([part.num_prefix for part in members])[:, None, None]
    count, width = own_BT.shape
    sees_prefix_BTU = (torch.arange(prefix_PU.shape[1]) < size_B11).expand(-1, width, -1)
    sees_own_BTT = torch.ones(width, width, dtype=torch.bool).tril().expand(count, -1, -1)
    prefix_B = torch.tensor([prefixes.index(part.prefix) for part in members if part.prefix is not None])
    return Bucket(own_BT, prefix_PU, prefix_B, torch.cat([sees_prefix_BTU, sees_own_BTT], dim=-1)[:, None])


def _indices(parts: Sequence[Part]) -> torch.Tensor:
    """Places of the parts' tokens, a row each, 0 where padded: no real query sees a padded key."""
    result = torch.zeros(len(parts), max(part.size for part in parts), dtype=torch.long)
    for row, part in enumerate(parts):
        result[row, : part.size] = torch.arange(part.start, part.start + part.size)
    return result


def _shared_prefix_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    layout: Layout | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: (1, A, N, D) to (1, N, A, D). Without a layout it is stock SDPA."""
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    query_NAD = query[0].transpose(0, 1)
    pair_N2AD = torch.stack([key[0].transpose(0, 1), value[0].transpose(0, 1)], dim=1)
    # Grouped queries: each head of keys and values serves as many heads of queries.
    pair_N2AD = pair_N2AD.repeat_interleave(query.shape[1] // key.shape[1], dim=2)
    outputs = []
    for bucket in layout.buckets:
        pair_BS2AD = _rows(pair_N2AD, bucket.own_BT)
        if bucket.prefix_PU is not None:
            # Once a prompt, then once a segment: the gradient of a prompt's keys is a sum over whole rows.
            prefix_BU2AD = _rows(pair_N2AD, bucket.prefix_PU).index_select(0, bucket.prefix_B)
            pair_BS2AD = torch.cat([prefix_BU2AD, pair_BS2AD], dim=1)
        key_BASD, value_BASD = pair_BS2AD.transpose(1, 3).unbind(2)
        output_BATD = F.scaled_dot_product_attention(
            _rows(query_NAD, bucket.own_BT).transpose(1, 2),
            key_BASD,
            value_BASD,
            attn_mask=bucket.mask_B1TS,
            is_causal=bucket.mask_B1TS is None,
            scale=options["scaling"],
        )
        outputs.append(output_BATD.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs).index_select(0, layout.place_N)[None], None


def _rows(values_N: torch.Tensor, index_BT: torch.Tensor) -> torch.Tensor:
    return values_N.index_select(0, index_BT.flatten()).unflatten(0, index_BT.shape)


AttentionInterface.register("shared_prefix", _shared_prefix_attention)
AttentionMaskInterface.register("shared_prefix", sdpa_mask)


def block_mask(part_N: torch.Tensor, prefix_N: torch.Tensor) -> BlockMask:
    """For FlexAttention: blocks that no query of theirs may see are never computed. ``part_N`` is -1 where padded."""

    def allowed(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        part = part_N[key]
        return (query >= key) & ((part == prefix_N[query]) | (part == part_N[query])) & (part >= 0)

    return create_block_mask(allowed, None, None, len(part_N), len(part_N), device=part_N.device)


def use_attention(model: Any, attention: Attention) -> None:
    """Sets the attention of a ``Qwen3VLModel``'s language model; the vision tower keeps SDPA.

    Raises UserError for ``flex_attention`` without a GPU: it computes there, but does not train.
    """
    if attention == "flex_attention" and not torch.cuda.is_available():
        raise UserError("model.attention: flex_attention trains on a GPU only, and there is none; take shared_prefix.")
    # Not by set_attn_implementation: transformers has not declared FlexAttention for this architecture, though it runs.
    model.language_model.config._attn_implementation = attention
