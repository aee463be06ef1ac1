"""The policy's part of a step, shared by alignment and RLVR: log-probabilities and updates of a rollout batch."""

from collections.abc import Mapping, Sequence

import torch

from modules.stage import StageModule
from prism_pl.algorithms import Algorithm
from prism_pl.algorithms.importance import MismatchOptions, mismatch_metrics
from prism_pl.algorithms.policy_update import ReuseOptions, groups_of, loss_inputs, make_updates
from prism_pl.metrics.means import Means
from prism_pl.model.packing import by_index
from prism_pl.model.policy import Policy
from prism_pl.types import PromptBatch, Sample


@torch.no_grad()
def response_logprobs(
    stage: StageModule, policy: Policy, batch: PromptBatch, rows: Sequence[int] | None = None
) -> dict[int, torch.Tensor]:
    """Log-probabilities of responses' tokens under the policy's weights, by index in the batch's B; all by default."""
    rows = range(len(batch.flat_responses)) if rows is None else rows
    result: dict[int, torch.Tensor] = {}
    for packed, counts in stage.rounds(groups_of(batch, rows), spare=groups_of(batch, [0])):
        logp_BT, _ = policy(packed, batch.temperature)
        if counts:
            result.update(by_index(logp_BT, packed))
    return result


def update_policy(
    stage: StageModule,
    policy: Policy,
    batch: PromptBatch,
    advantage_PG: torch.Tensor,
    algorithm: Algorithm,
    reuse: ReuseOptions,
    mismatch: MismatchOptions,
    means: Means,
    reference_logp: Mapping[int, torch.Tensor] | None = None,
    old_logp: Mapping[int, torch.Tensor] | None = None,
) -> None:
    """The optimizer steps on a rollout batch, fewer if ``max_steps`` is reached on the way.

    ``old_logp`` are the log-probabilities under the present weights, if they are known already.
    """
    optimizer, schedule = stage.main_optimizer, stage.main_schedule
    updates = make_updates(batch, advantage_PG, reuse, all_rows=algorithm.needs_all_rows)
    first_epoch = len(updates) // reuse.epochs
    trained = {row for update in updates for row in update.rows}
    rows = sorted(trained)
    # A single update is exactly on-policy: its own log-probabilities are the old ones.
    old = (old_logp or response_logprobs(stage, policy, batch, rows)) if len(updates) > 1 else None
    seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    means.add("policy/trained_responses", torch.tensor([float(row in trained) for row in range(advantage_PG.numel())]))
    for number, update in enumerate(updates):
        if stage.finished():
            break
        totals = stage.global_sum(torch.tensor([update.num_tokens, update.num_responses])).tolist()
        for packed, counts in stage.rounds(update.groups, spare=groups_of(batch, [0])):
            logp_BT, entropy_BT = policy(packed, batch.temperature, algorithm.entropy_weight > 0)
            kept = means if counts else Means()
            mask_BT = packed.token_mask_BT
            kept.add("policy/entropy", entropy_BT[mask_BT])
            # What does not count may be a response outside of ``rows``, whose log-probabilities nobody has asked for.
            known_old, known_reference = (old, reference_logp) if counts else (None, None)
            inputs, engine_logp_BT = loss_inputs(
                batch,
                packed,
                logp_BT,
                entropy_BT,
                advantage_PG,
                known_old,
                known_reference,
                (totals[0], totals[1]),
                mismatch,
            )
            stage.backward_share(algorithm.loss(inputs, kept), counts)
            if counts and number < first_epoch:
                seen.append((inputs.old_logp_BT[mask_BT], engine_logp_BT[mask_BT], inputs.weight_BT[mask_BT]))
        stage.apply_gradients(optimizer, "policy", means, counted=True)
        schedule.step()
    trainer_N, engine_N, weight_N = (torch.cat([torch.zeros(0), *(p.cpu() for p in parts)]) for parts in _columns(seen))
    for name, value in mismatch_metrics(trainer_N, engine_N, weight_N, mismatch, stage.global_sum).items():
        means.add(name, value)


def _columns(rows: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> list[list[torch.Tensor]]:
    return [[row[column] for row in rows] for column in range(3)]


def add_response_metrics(batch: PromptBatch, means: Means) -> None:
    """Length and truncation of the responses."""
    means.add("response/tokens", batch.length_PG)
    means.add("response/truncated", torch.tensor([float(r.truncated) for r in batch.flat_responses]))


def make_samples(batch: PromptBatch, advantage_PG: torch.Tensor, **columns: torch.Tensor) -> list[Sample]:
    """One record a response; further (P, G) columns by field name, NaN where there is no value."""
    samples = []
    for p, (prompt, group) in enumerate(zip(batch.prompts, batch.responses, strict=True)):
        for g, response in enumerate(group):
            values = {name: float(value_PG[p, g]) for name, value_PG in columns.items()}
            samples.append(
                Sample(
                    source=prompt.source,
                    question=prompt.question,
                    image=prompt.image_paths[0] if prompt.image_paths else None,
                    response=response.text,
                    tokens=len(response.token_ids),
                    truncated=response.truncated,
                    advantage=float(advantage_PG[p, g]),
                    **{name: value for name, value in values.items() if value == value},
                )
            )
    return samples
