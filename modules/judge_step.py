"""The discriminator's part of a step, shared by warm-up and alignment: scores of a trial and the update on it."""

from typing import Any

import torch

from modules.stage import StageModule
from prism_pl.discriminator import MixtureDiscriminator
from prism_pl.game import Scores, Trial, arrange, discriminator_loss
from prism_pl.metrics import Means
from prism_pl.types import EXPERTS


@torch.no_grad()
def score_trial(stage: StageModule, discriminator: MixtureDiscriminator, trial: Trial) -> torch.Tensor:
    """The score (N,) of every segment, on the CPU."""
    score_N = torch.zeros(len(trial.expert_N))
    for packed, counts in stage.rounds(trial.groups):
        expert_B = trial.expert_N.to(stage.device)[packed.order_B]
        score_B, _ = discriminator(packed, expert_B)
        if counts:
            score_N[packed.order_B.cpu()] = score_B.cpu()
    return score_N


def update_discriminator(
    stage: StageModule,
    discriminator: MixtureDiscriminator,
    optimizer: Any,
    trial: Trial,
    score_N: torch.Tensor,
    score_penalty: float,
    balance_weight: float,
    means: Means,
    *,
    counted: bool,
) -> None:
    """One optimizer step. ``score_N`` are the segments' scores under the present weights.

    A pair's two segments may lie in different micro-batches, so the loss is differentiated in two steps that give the
    exact gradient for any packing: dL/dscore from the scores known, then micro-batch by micro-batch dL/dscore . score.
    """
    pairs = stage.global_sum(float(trial.valid_PG.sum()))
    segments = stage.global_sum(float(len(score_N)))
    leaf_N = score_N.clone().requires_grad_()
    loss = discriminator_loss(arrange(leaf_N, trial), float(pairs), float(segments), score_penalty)
    (slope_N,) = torch.autograd.grad(loss, leaf_N)
    for packed, counts in stage.rounds(trial.groups):
        expert_B = trial.expert_N.to(stage.device)[packed.order_B]
        score_B, balance = discriminator(packed, expert_B)
        share = len(score_B) / float(segments)
        surrogate = (slope_N.to(stage.device)[packed.order_B] * score_B).sum() + balance_weight * share * balance
        stage.backward_share(surrogate, counts)
        if counts:
            means.add("discriminator/balance", balance)
    stage.apply_gradients(optimizer, "discriminator", means, counted=counted)


def add_game_metrics(scores: Scores, means: Means, prefix: str = "") -> None:
    """Reward gap (mean teacher minus mean policy score), accuracy and scores of each expert, over valid pairs."""
    for k, expert in enumerate(EXPERTS):
        margin_M = scores.margin_MK[:, k]
        means.add(f"{prefix}reward_gap/{expert}", margin_M)
        means.add(f"{prefix}accuracy/{expert}", (margin_M > 0).float())
        means.add(f"{prefix}discriminator_loss/{expert}", -torch.nn.functional.logsigmoid(margin_M))
        means.add(f"{prefix}score/teacher_{expert}", scores.teacher_PK[:, k])
        means.add(f"{prefix}score/policy_{expert}", scores.policy_PGK[..., k][scores.valid_PG])
    means.add(f"{prefix}format_rate", scores.valid_PG.float())
