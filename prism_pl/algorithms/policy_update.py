"""From sampled responses and advantages to the terms of a policy loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch.nn.utils.rnn import pad_sequence

from prism_pl.algorithms import PolicyTerms
from prism_pl.algorithms.importance import MismatchOptions, importance_weights
from prism_pl.model.packing import Group, PackedBatch
from prism_pl.ranges import PositiveInt
from prism_pl.types import PromptBatch


@dataclass(frozen=True, kw_only=True)
class ReuseOptions:
    """How often the policy learns from a rollout batch. With one update every ratio is 1, and no clip acts."""

    mini_batches: PositiveInt = 1
    """Updates in one pass over the batch, each on its share of the prompts."""
    epochs: PositiveInt = 1
    """Passes over the batch."""


@dataclass(frozen=True)
class PolicyUpdate:
    """One optimizer step's share of a rollout batch."""

    rows: list[int]
    """The responses that have a gradient, as indices into the batch's B, prompt-major."""
    groups: list[Group]
    """Those responses; a segment's ``order`` is its index in the batch's B."""
    num_tokens: int
    """Of all responses of the share, also those without a gradient: they are part of every mean."""
    num_responses: int


def make_updates(
    batch: PromptBatch, advantage_PG: torch.Tensor, reuse: ReuseOptions, *, all_rows: bool
) -> list[PolicyUpdate]:
    """The prompts split into ``mini_batches`` parts of as equal size as possible, in order, ``epochs`` times over.

    Responses without advantage have no gradient and are left out of the forward pass, unless ``all_rows``.
    """
    size, responses, advantages = advantage_PG.shape[1], batch.flat_responses, advantage_PG.flatten().tolist()
    updates = []
    for part in torch.arange(len(batch.prompts)).tensor_split(reuse.mini_batches):
        share = [p * size + g for p in part.tolist() for g in range(size)]
        if not share:
            continue
        rows = [row for row in share if all_rows or advantages[row] != 0]
        tokens = sum(len(responses[row].token_ids) for row in share)
        updates.append(PolicyUpdate(rows, groups_of(batch, rows), tokens, len(share)))
    return updates * reuse.epochs


def groups_of(batch: PromptBatch, rows: Sequence[int]) -> list[Group]:
    """Some of a batch's responses, each prompt once; ``rows`` are sorted indices into B."""
    size, responses = len(batch.responses[0]), batch.flat_responses
    return [
        Group(batch.prompts[p], tuple(responses[row].token_ids for row in own), tuple(own))
        for p, members in groupby(rows, key=lambda row: row // size)
        if (own := list(members))
    ]


def policy_terms(
    batch: PromptBatch,
    packed: PackedBatch,
    logp_BT: torch.Tensor,
    entropy_BT: torch.Tensor,
    advantage_PG: torch.Tensor,
    old_logp: Mapping[int, torch.Tensor] | None,
    reference_logp: Mapping[int, torch.Tensor] | None,
    totals: tuple[float, float],
    mismatch: MismatchOptions,
) -> tuple[PolicyTerms, torch.Tensor]:
    """The terms of one micro-batch, and the engine's log-probabilities (B, T).

    ``old_logp`` holds old log-probabilities by the response's index in the batch, or is None if the step is exactly
    on-policy: then they are the current ones and no extra pass is needed. ``totals`` are the tokens and the responses of
    the whole update over all ranks.
    """
    order, mask_BT = packed.order_B.tolist(), packed.token_mask_BT
    responses = batch.flat_responses
    old_logp_BT = logp_BT.detach() if old_logp is None else _padded([old_logp[b] for b in order], logp_BT)
    engine_logp_BT = _padded([torch.tensor(responses[b].engine_logp) for b in order], logp_BT)
    terms = PolicyTerms(
        logp_BT=logp_BT,
        old_logp_BT=old_logp_BT,
        weight_BT=importance_weights(old_logp_BT - engine_logp_BT, mask_BT, mismatch),
        mask_BT=mask_BT,
        advantage_B=advantage_PG.flatten().to(logp_BT)[packed.order_B],
        num_tokens=totals[0],
        num_responses=totals[1],
        max_length=batch.max_new_tokens,
        entropy_BT=entropy_BT,
        reference_logp_BT=_padded([reference_logp[b] for b in order], logp_BT) if reference_logp is not None else None,
    )
    return terms, engine_logp_BT


def _padded(rows: list[torch.Tensor], like_BT: torch.Tensor) -> torch.Tensor:
    return pad_sequence(rows, batch_first=True).to(like_BT)
