"""The policy's part of a step, shared by alignment and RLVR: log-probabilities and updates of a rollout batch."""

import torch

from modules.stage import StageModule
from prism_pl.algorithms import Algorithm
from prism_pl.metrics import Means
from prism_pl.packing import make_groups, unpad
from prism_pl.policy import Policy
from prism_pl.policy_update import policy_terms, split_updates
from prism_pl.types import PromptBatch, Sample


@torch.no_grad()
def response_logprobs(stage: StageModule, policy: Policy, batch: PromptBatch) -> list[torch.Tensor]:
    """Log-probabilities of each of the B responses' tokens under the current weights."""
    groups = make_groups(batch.prompts, [[r.token_ids for r in group] for group in batch.responses])
    result: dict[int, torch.Tensor] = {}
    for packed, counts in stage.rounds(groups):
        logp_BT, _ = policy(packed, batch.temperature)
        if counts:
            result.update(zip(packed.order_B.tolist(), unpad(logp_BT, packed.token_mask_BT), strict=True))
    return [result[index] for index in range(len(result))]


def update_policy(
    stage: StageModule,
    policy: Policy,
    batch: PromptBatch,
    advantage_PG: torch.Tensor,
    algorithm: Algorithm,
    num_updates: int,
    importance_cap: float | None,
    means: Means,
) -> None:
    """``num_updates`` optimizer steps on a rollout batch, fewer if ``max_steps`` is reached on the way."""
    optimizer, schedule = stage.main_optimizer, stage.main_schedule
    old = response_logprobs(stage, policy, batch) if num_updates > 1 else None
    start = 0
    for update in split_updates(batch, advantage_PG, num_updates):
        if stage.finished():
            return
        own_old = old[start : start + len(update.responses)] if old else None
        start += len(update.responses)
        totals = stage.global_sum(torch.tensor([update.num_tokens, len(update.responses)])).tolist()
        for packed, counts in stage.rounds(update.groups):
            logp_BT, entropy_BT = policy(packed, batch.temperature)
            kept = means if counts else Means()
            kept.add("policy/entropy", entropy_BT[packed.token_mask_BT])
            terms = policy_terms(update, packed, logp_BT, own_old, (totals[0], totals[1]), importance_cap, kept)
            stage.backward_share(algorithm.loss(terms, kept), counts)
        stage.apply_gradients(optimizer, "policy", means, counted=True)
        schedule.step()


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
