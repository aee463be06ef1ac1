"""From sampled responses and advantages to the inputs of a policy loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch.nn.utils.rnn import pad_sequence
from torchmetrics import Metric

from prism_pl.algorithms.importance import EngineMismatch, MismatchOptions, importance_weights
from prism_pl.algorithms.inputs import LossInputs
from prism_pl.metrics.collection import StepMetrics, local, means
from prism_pl.model.packing import Group, PackedBatch, Suspects
from prism_pl.ranges import PositiveInt
from prism_pl.types import Rollouts


@dataclass(frozen=True, kw_only=True)
class ReuseOptions:
    """How often the policy learns from a rollout batch. With one update every ratio is 1, and no clip acts."""

    mini_batches: PositiveInt = 1
    """Updates in one pass over the batch, each on its share of the prompts."""
    epochs: PositiveInt = 1
    """Passes over the batch."""

    @property
    def updates(self) -> int:
        """Of one rollout batch."""
        return self.mini_batches * self.epochs


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


@dataclass(frozen=True)
class Advantages:
    """What the responses of a rollout batch are credited with: one number each, or another one from some token on."""

    whole_PG: torch.Tensor
    """Of every token of a response, or of those before ``start_PG``."""
    late_PG: torch.Tensor | None = None
    """Of the tokens from ``start_PG`` on. They cannot change what was earned before them (reward-to-go)."""
    start_PG: torch.Tensor | None = None
    """The first token, counted from 0, that ``late_PG`` is for."""

    @property
    def teaches_PG(self) -> torch.Tensor:
        """True where some token has an advantage."""
        whole_PG = self.whole_PG != 0
        return whole_PG if self.late_PG is None else whole_PG | (self.late_PG != 0)

    def of_tokens(self, order_B: torch.Tensor, like_BT: torch.Tensor) -> torch.Tensor:
        """(B, T), or (B, 1) where the tokens of a response share one; ``order_B`` are the responses' indices."""
        whole_B1 = self.whole_PG.flatten().to(like_BT)[order_B][:, None]
        if self.late_PG is None or self.start_PG is None:
            return whole_B1
        late_B1 = self.late_PG.flatten().to(like_BT)[order_B][:, None]
        start_B1 = self.start_PG.flatten().to(order_B.device)[order_B][:, None]
        return torch.where(torch.arange(like_BT.shape[1], device=order_B.device) < start_B1, whole_B1, late_B1)


def make_updates(rollouts: Rollouts, advantages: Advantages, reuse: ReuseOptions, *, all_rows: bool) -> list[PolicyUpdate]:
    """The prompts split into ``mini_batches`` parts of as equal size as possible, in order, ``epochs`` times over.

    Responses without advantage have no gradient and are left out of the forward pass, unless ``all_rows``.
    """
    size, responses, teaches = len(rollouts.responses[0]), rollouts.flat_responses, advantages.teaches_PG.flatten().tolist()
    updates = []
    for part in torch.arange(len(rollouts.prompts)).tensor_split(reuse.mini_batches):
        share = [p * size + g for p in part.tolist() for g in range(size)]
        if not share:
            continue
        rows = [row for row in share if all_rows or teaches[row]]
        tokens = sum(len(responses[row].token_ids) for row in share)
        updates.append(PolicyUpdate(rows, groups_of(rollouts, rows), tokens, len(share)))
    return updates * reuse.epochs


def trained_rows(updates: Sequence[PolicyUpdate]) -> list[int]:
    """The responses that have a gradient in some update, in order."""
    return sorted({row for update in updates for row in update.rows})


def groups_of(rollouts: Rollouts, rows: Sequence[int]) -> list[Group]:
    """Some of the responses, each prompt once; ``rows`` are sorted indices into B."""
    size, responses = len(rollouts.responses[0]), rollouts.flat_responses
    return [
        Group(rollouts.prompts[p], tuple(responses[row].token_ids for row in own), tuple(own))
        for p, members in groupby(rows, key=lambda row: row // size)
        if (own := list(members))
    ]


@dataclass(frozen=True)
class RolloutTerms:
    """What the losses of all micro-batches of a rollout batch have in common."""

    rollouts: Rollouts
    advantages: Advantages
    mismatch: MismatchOptions
    old_logp: Mapping[int, torch.Tensor] | None = None
    """Old log-probabilities by the response's index in B. None if the step is exactly on-policy: then they are the current
    ones, and no extra pass is needed."""
    reference_logp: Mapping[int, torch.Tensor] | None = None
    """Log-probabilities under the reference model, by the response's index in B."""

    def loss_inputs(
        self,
        packed: PackedBatch,
        logp_BT: torch.Tensor,
        entropy_BT: torch.Tensor,
        totals: Sequence[float],
    ) -> LossInputs:
        """The inputs of one micro-batch. ``totals`` are the tokens and the responses of the whole update, on all ranks."""
        order, mask_BT = packed.order_B.tolist(), packed.token_mask_BT
        old_logp, reference_logp = self.old_logp, self.reference_logp
        old_logp_BT = logp_BT.detach() if old_logp is None else _padded([old_logp[b] for b in order], logp_BT)
        responses = self.rollouts.flat_responses
        engine_logp_BT = _padded([torch.tensor(responses[b].engine_logp) for b in order], logp_BT)
        return LossInputs(
            logp_BT=logp_BT,
            old_logp_BT=old_logp_BT,
            weight_BT=importance_weights(old_logp_BT - engine_logp_BT, mask_BT, self.mismatch),
            mask_BT=mask_BT,
            advantage_BT=self.advantages.of_tokens(packed.order_B, logp_BT),
            num_tokens=totals[0],
            num_responses=totals[1],
            max_length=self.rollouts.sampling.max_new_tokens,
            entropy_BT=entropy_BT,
            reference_logp_BT=None if reference_logp is None else _padded([reference_logp[b] for b in order], logp_BT),
            engine_logp_BT=engine_logp_BT,
        )


def nonfinite_responses(inputs: LossInputs, packed: PackedBatch, rollouts: Rollouts) -> Suspects:
    """The responses of a micro-batch of which something that the loss reads is not finite.

    Each as its prompt's ``file:row`` and its place in the group, from 1.
    """
    columns = (inputs.logp_BT, inputs.old_logp_BT, inputs.weight_BT, inputs.reference_logp_BT, inputs.entropy_BT)
    bad_B = ~inputs.advantage_BT.isfinite().all(-1)
    for column_BT in columns:
        if column_BT is not None:
            bad_B = bad_B | (~column_BT.detach().isfinite() & inputs.mask_BT).any(-1)
    size = len(rollouts.responses[0])

    def name(b: int) -> str:
        return f"{rollouts.prompts[b // size].source}, response {b % size + 1} of {size}"

    return Suspects(bad_B, packed.order_B, name)


def _padded(rows: list[torch.Tensor], like_BT: torch.Tensor) -> torch.Tensor:
    return pad_sequence(rows, batch_first=True).to(like_BT)


def update_metrics(mismatch: MismatchOptions) -> dict[str, Metric]:
    """What the two functions below add to."""
    return means("policy/entropy", "policy/trained_responses") | {"mismatch/": local(EngineMismatch, mismatch)}


def add_input_metrics(inputs: LossInputs, metrics: StepMetrics, *, first_epoch: bool) -> None:
    """Entropy of every pass; the mismatch of the first one, in which each response is seen once."""
    mask_BT = inputs.mask_BT
    assert inputs.entropy_BT is not None
    assert inputs.engine_logp_BT is not None
    metrics.add("policy/entropy", inputs.entropy_BT[mask_BT])
    if first_epoch:
        columns = (inputs.old_logp_BT, inputs.engine_logp_BT, inputs.weight_BT)
        metrics.add("mismatch/", *(column_BT[mask_BT] for column_BT in columns))


def add_trained_share(trained: Sequence[int], num_responses: int, metrics: StepMetrics) -> None:
    """The share of responses that have a gradient."""
    rows = set(trained)
    metrics.add("policy/trained_responses", torch.tensor([float(row in rows) for row in range(num_responses)]))


def response_metrics() -> dict[str, Metric]:
    """What ``add_response_metrics`` adds to."""
    return means("response/tokens", "response/truncated", "advantage/zero_std_groups")


def add_response_metrics(rollouts: Rollouts, advantage_PG: torch.Tensor, metrics: StepMetrics) -> None:
    """Length and truncation of the responses; groups whose advantages are all equal, which teach nothing."""
    metrics.add("response/tokens", rollouts.length_PG)
    metrics.add("response/truncated", torch.tensor([float(r.truncated) for r in rollouts.flat_responses]))
    metrics.add("advantage/zero_std_groups", (advantage_PG == advantage_PG[:, :1]).all(dim=1).float())
