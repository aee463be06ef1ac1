"""From sampled responses and advantages to the terms of a policy loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from prism_pl.algorithms.base import PolicyTerms
from prism_pl.importance import importance_weights
from prism_pl.metrics import Means
from prism_pl.packing import Group, PackedBatch, make_groups
from prism_pl.types import PromptBatch, Response


@dataclass(frozen=True)
class PolicyUpdate:
    """One optimizer step's share of a rollout batch: some of its prompts, with all their responses."""

    groups: list[Group]
    responses: list[Response]
    """The update's responses, in the order of the groups' segments."""
    advantage_B: torch.Tensor

    @property
    def num_tokens(self) -> int:
        return sum(len(response.token_ids) for response in self.responses)


def split_updates(batch: PromptBatch, advantage_PG: torch.Tensor, num_updates: int) -> list[PolicyUpdate]:
    """Splits the prompts of a rollout batch into ``num_updates`` parts of as equal size as possible, in order."""
    updates = []
    for part in torch.arange(len(batch.prompts)).tensor_split(num_updates):
        index = part.tolist()
        if not index:
            continue
        groups = make_groups([batch.prompts[i] for i in index], [[r.token_ids for r in batch.responses[i]] for i in index])
        responses = [response for i in index for response in batch.responses[i]]
        updates.append(PolicyUpdate(groups, responses, advantage_PG[part].flatten()))
    return updates


def policy_terms(
    update: PolicyUpdate,
    packed: PackedBatch,
    logp_BT: torch.Tensor,
    old_logp: Sequence[torch.Tensor] | None,
    totals: tuple[float, float],
    importance_cap: float | None,
    means: Means,
) -> PolicyTerms:
    """The terms of one micro-batch of ``update``.

    ``old_logp`` holds the old log-probabilities of all the update's responses, or None if the step is exactly on-policy:
    then the old log-probabilities are the current ones and no extra pass is needed. ``totals`` are the tokens and the
    responses of the whole update over all ranks.
    """
    order = packed.order_B.tolist()
    mask_BT = packed.token_mask_BT
    old_logp_BT = logp_BT.detach() if old_logp is None else _padded([old_logp[b] for b in order], logp_BT)
    engine_logp_BT = _padded([torch.tensor(update.responses[b].engine_logp) for b in order], logp_BT)
    return PolicyTerms(
        logp_BT=logp_BT,
        old_logp_BT=old_logp_BT,
        weight_BT=importance_weights(old_logp_BT, engine_logp_BT, mask_BT, importance_cap, means),
        mask_BT=mask_BT,
        advantage_B=update.advantage_B.to(logp_BT)[packed.order_B],
        num_tokens=totals[0],
        num_responses=totals[1],
    )


def _padded(rows: list[torch.Tensor], like_BT: torch.Tensor) -> torch.Tensor:
    return pad_sequence(rows, batch_first=True).to(like_BT)
