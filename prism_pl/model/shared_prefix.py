"""Attention in which every segment sees its group's prompt and itself, and nothing else is computed.

    own:     o1, l1 = attend(q, k_own, v_own), causal          l: log of the sum of exp(scores)
    prompt:  o2, l2 = attend(q, k_prompt, v_prompt), all of it
    merged:  l = log(e^l1 + e^l2),   o = e^(l1 - l) o1 + e^(l2 - l) o2

It is the softmax over both kinds of keys, and its backward pass is exact: a score's probability is exp(score - l), and its
gradient needs no more than l, o and do, so each of the two attentions runs its own backward with the merged l and o.

The queries of all segments of a prompt are one block against the prompt's keys, which stand in the packed batch once and
are read where they stand. Heads of keys and values are never repeated for the heads of queries that they serve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import torch


@dataclass(frozen=True)
class Part:
    """A prompt (``prefix`` is None) or a segment (``prefix`` is its prompt) in the packed batch."""

    start: int
    size: int
    prefix: "Part | None" = None

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True)
class Bucket:
    """B parts of like length as a batch of their own, padded to T tokens."""

    place_BT: torch.Tensor
    """Places in the packed batch, 0 where padded: no real query sees a padded key, which stands behind it."""
    padded_BT: torch.Tensor


@dataclass(frozen=True)
class Block:
    """A prompt and all its segments, which follow one another: places ``keys`` and ``queries`` of the packed batch."""

    keys: slice
    queries: slice


@dataclass(frozen=True)
class Layout:
    """How N packed tokens become batches, and back."""

    buckets: tuple[Bucket, ...]
    blocks: tuple[Block, ...]
    place_R: torch.Tensor
    """Of each of the R tokens before the padding: its place in the buckets' outputs, one after the other."""

    def to(self, device: torch.device) -> "Layout":
        buckets = (Bucket(bucket.place_BT.to(device), bucket.padded_BT.to(device)) for bucket in self.buckets)
        return Layout(tuple(buckets), self.blocks, self.place_R.to(device))


def make_layout(parts: Sequence[Part]) -> Layout:
    """Parts by length, each bucket at most half padding. Together the parts are the first R places, and a prompt's segments
    follow one another."""
    place_R = torch.full((sum(part.size for part in parts),), -1)
    buckets, offset = [], 0
    for members in _alike(parts):
        bucket = _bucket(members)
        width = bucket.place_BT.shape[1]
        for row, part in enumerate(members):
            start = offset + row * width
            place_R[part.start : part.end] = torch.arange(start, start + part.size)
        offset += bucket.place_BT.numel()
        buckets.append(bucket)
    assert (place_R >= 0).all()
    return Layout(tuple(buckets), tuple(_blocks(parts)), place_R)


def _alike(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts in lists whose longest is less than twice the shortest."""
    lists: list[list[Part]] = []
    for part in sorted(parts, key=lambda part: -part.size):
        if lists and 2 * part.size > lists[-1][0].size:
            lists[-1].append(part)
        else:
            lists.append([part])
    return lists


def _bucket(members: Sequence[Part]) -> Bucket:
    place_BT = torch.zeros(len(members), max(part.size for part in members), dtype=torch.long)
    padded_BT = torch.ones(place_BT.shape, dtype=torch.bool)
    for row, part in enumerate(members):
        place_BT[row, : part.size] = torch.arange(part.start, part.end)
        padded_BT[row, : part.size] = False
    return Bucket(place_BT, padded_BT)


def _blocks(parts: Sequence[Part]) -> list[Block]:
    blocks = []
    segments = sorted((part for part in parts if part.prefix is not None), key=lambda part: part.start)
    for prompt, own in groupby(segments, key=lambda part: part.prefix):
        members = list(own)
        assert prompt is not None
        assert all(after.start == before.end for before, after in pairwise(members))
        blocks.append(Block(slice(prompt.start, prompt.end), slice(members[0].start, members[-1].end)))
    return blocks


def shared_prefix_attention(
    query_NAD: torch.Tensor, key_NKD: torch.Tensor, value_NKD: torch.Tensor, layout: Layout, scale: float
) -> torch.Tensor:
    """(N, A, D): softmax(scale q k^T) v over each token's prompt and own part; 0 where padded.

    Each of the K heads of keys and values serves A / K heads of queries, in their order.
    """
    # Normalised in fp32, queries and keys may be more precise than the values beside them. No kernel takes both.
    query_NAD, key_NKD = query_NAD.to(value_NKD.dtype), key_NKD.to(value_NKD.dtype)
    output_NAD: torch.Tensor = _SharedPrefix.apply(query_NAD, key_NKD, value_NKD, layout, scale)
    return output_NAD


class _SharedPrefix(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query_NAD: torch.Tensor, key_NKD: torch.Tensor, value_NKD: torch.Tensor, layout: Layout, scale: float
    ) -> torch.Tensor:
        outputs, sums = [], []
        for bucket in layout.buckets:
            rows = (_rows(values, bucket.place_BT) for values in (query_NAD, key_NKD, value_NKD))
            output_BTAD, sum_BTA = attend(*rows, scale=scale, causal=True)
            outputs.append(output_BTAD)
            sums.append(sum_BTA)
        output_NAD, sum_NA = (_in_place(found, layout, len(query_NAD)) for found in (outputs, sums))
        for block in layout.blocks:
            keys = (values[None, block.keys] for values in (key_NKD, value_NKD))
            prompt_1TAD, prompt_1TA = attend(query_NAD[None, block.queries], *keys, scale=scale, causal=False)
            own_TAD, own_TA = output_NAD[block.queries], sum_NA[block.queries]
            merged_TA = torch.logaddexp(own_TA, prompt_1TA[0])
            share_TA = torch.exp(prompt_1TA[0] - merged_TA).to(own_TAD)
            own_TAD.lerp_(prompt_1TAD[0], share_TA[..., None])
            own_TA.copy_(merged_TA)
        ctx.save_for_backward(query_NAD, key_NKD, value_NKD, output_NAD, sum_NA)
        ctx.layout, ctx.scale = layout, scale
        return output_NAD

    @staticmethod
    def backward(ctx: Any, d_output_NAD: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *values, sum_NA = ctx.saved_tensors
        layout, scale = ctx.layout, ctx.scale
        gradients: tuple[list[torch.Tensor], ...] = ([], [], [])
        for bucket in layout.buckets:
            rows = [_rows(value, bucket.place_BT) for value in (d_output_NAD, *values)]
            # A padded query gives every key the probability exp(score - inf) = 0, and so no gradient.
            sum_BTA = _rows(sum_NA, bucket.place_BT).masked_fill_(bucket.padded_BT[..., None], torch.inf)
            own = attend_backward(*rows, sum_BTA=sum_BTA, scale=scale, causal=True)
            for found, gradient in zip(gradients, own, strict=True):
                found.append(gradient)
        d_query_NAD, d_key_NKD, d_value_NKD = (_in_place(found, layout, len(sum_NA)) for found in gradients)
        for block in layout.blocks:
            places = (block.queries, block.queries, block.keys, block.keys, block.queries)
            rows = [value[None, place] for value, place in zip((d_output_NAD, *values), places, strict=True)]
            own = attend_backward(*rows, sum_BTA=sum_NA[None, block.queries], scale=scale, causal=False)
            d_query_NAD[block.queries] += own[0][0]
            d_key_NKD[block.keys] += own[1][0]
            d_value_NKD[block.keys] += own[2][0]
        return d_query_NAD, d_key_NKD, d_value_NKD, None, None


def _rows(values_N: torch.Tensor, place_BT: torch.Tensor) -> torch.Tensor:
    return values_N.index_select(0, place_BT.flatten()).unflatten(0, place_BT.shape)


def _in_place(buckets_BT: Sequence[torch.Tensor], layout: Layout, num_tokens: int) -> torch.Tensor:
    """From the buckets' (B, T, ..) to the packed batch's (N, ..), 0 where padded."""
    values_R = torch.cat([bucket.flatten(0, 1) for bucket in buckets_BT]).index_select(0, layout.place_R)
    padding = num_tokens - len(values_R)
    return torch.cat([values_R, values_R.new_zeros(padding, *values_R.shape[1:])]) if padding else values_R


def attend(
    query_BTAD: torch.Tensor, key_BSKD: torch.Tensor, value_BSKD: torch.Tensor, *, scale: float, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output (B, T, A, D) and l (B, T, A), the log of the sum of exp(scale q k). ``causal``: the t-th query sees t keys."""
    if query_BTAD.device.type != "cpu":
        return attend_plainly(query_BTAD, key_BSKD, value_BSKD, scale=scale, causal=causal)
    heads_first = (values.transpose(1, 2) for values in (query_BTAD, key_BSKD, value_BSKD))
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    output_BATD, sum_BAT = kernel(*heads_first, 0.0, causal, scale=scale)
    return output_BATD.transpose(1, 2), sum_BAT.transpose(1, 2)


def attend_backward(
    d_output_BTAD: torch.Tensor,
    query_BTAD: torch.Tensor,
    key_BSKD: torch.Tensor,
    value_BSKD: torch.Tensor,
    output_BTAD: torch.Tensor,
    *,
    sum_BTA: torch.Tensor,
    scale: float,
    causal: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of queries, keys and values. Of an attention that was merged with others: ``output`` and ``sum``, the log
    of the sum of exponentials, are the merged ones.

        p = exp(scale q k - sum),  dv = p^T do,  ds = p (do v^T - do . o),  dq = scale ds k,  dk = scale ds^T q
    """
    values = (d_output_BTAD, query_BTAD, key_BSKD, value_BSKD, output_BTAD)
    if query_BTAD.device.type != "cpu":
        return attend_backward_plainly(*values, sum_BTA=sum_BTA, scale=scale, causal=causal)
    heads_first = (value.transpose(1, 2) for value in values)
    gradients = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        *heads_first, sum_BTA.transpose(1, 2), 0.0, causal, scale=scale
    )
    d_query, d_key, d_value = (gradient.transpose(1, 2) for gradient in gradients)
    return d_query, d_key, d_value


def attend_plainly(
    query_BTAD: torch.Tensor, key_BSKD: torch.Tensor, value_BSKD: torch.Tensor, *, scale: float, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """``attend`` by products of whole matrices: what the kernels are tested against, and any device's without one here."""
    score_BKRTS = _scores(query_BTAD, key_BSKD, scale, causal=causal)
    sum_BKRT = score_BKRTS.logsumexp(-1)
    probability_BKRTS = torch.exp(score_BKRTS - sum_BKRT[..., None]).to(value_BSKD)
    output_BTKRD = torch.einsum("bkrts,bskd->btkrd", probability_BKRTS, value_BSKD)
    return output_BTKRD.flatten(2, 3), sum_BKRT.flatten(1, 2).transpose(1, 2)


def attend_backward_plainly(
    d_output_BTAD: torch.Tensor,
    query_BTAD: torch.Tensor,
    key_BSKD: torch.Tensor,
    value_BSKD: torch.Tensor,
    output_BTAD: torch.Tensor,
    *,
    sum_BTA: torch.Tensor,
    scale: float,
    causal: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``attend_backward`` by products of whole matrices."""
    heads = (key_BSKD.shape[2], query_BTAD.shape[2] // key_BSKD.shape[2])
    d_output_BTKRD, query_BTKRD = d_output_BTAD.unflatten(2, heads), query_BTAD.unflatten(2, heads)
    sum_BKRT = sum_BTA.unflatten(2, heads).permute(0, 2, 3, 1)
    score_BKRTS = _scores(query_BTAD, key_BSKD, scale, causal=causal)
    probability_BKRTS = torch.exp(score_BKRTS - sum_BKRT[..., None]).to(value_BSKD)
    d_value = torch.einsum("bkrts,btkrd->bskd", probability_BKRTS, d_output_BTKRD)
    inner_BKRT = (d_output_BTAD * output_BTAD).sum(-1).unflatten(2, heads).permute(0, 2, 3, 1)
    d_probability_BKRTS = torch.einsum("btkrd,bskd->bkrts", d_output_BTKRD, value_BSKD)
    d_score_BKRTS = scale * probability_BKRTS * (d_probability_BKRTS - inner_BKRT[..., None])
    d_query = torch.einsum("bkrts,bskd->btkrd", d_score_BKRTS, key_BSKD).flatten(2, 3)
    d_key = torch.einsum("bkrts,btkrd->bskd", d_score_BKRTS, query_BTKRD)
    return d_query, d_key, d_value


def _scores(query_BTAD: torch.Tensor, key_BSKD: torch.Tensor, scale: float, *, causal: bool) -> torch.Tensor:
    """(B, K, A / K, T, S) in fp32 or better; -inf where a query may not look."""
    heads = (key_BSKD.shape[2], query_BTAD.shape[2] // key_BSKD.shape[2])
    score_BKRTS = scale * torch.einsum("btkrd,bskd->bkrts", query_BTAD.unflatten(2, heads), key_BSKD)
    score_BKRTS = score_BKRTS.to(torch.promote_types(score_BKRTS.dtype, torch.float32))
    if not causal:
        return score_BKRTS
    size = query_BTAD.shape[1]
    later_TS = torch.ones(size, size, dtype=torch.bool, device=query_BTAD.device).triu(1)
    return score_BKRTS.masked_fill(later_TS, -torch.inf)
