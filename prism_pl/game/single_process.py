"""Scoring and learning in one process, without a strategy: for reports, probes and benchmarks."""

from collections.abc import Callable

import torch

from prism_pl.discriminators import Scorer
from prism_pl.game.scoring_batch import ScoringBatch, score_batch
from prism_pl.model.packing import PackedBatch, micro_batches, pack

_CLIP_NORM = 1.0


def score_single_process(scorer: Scorer, scoring: ScoringBatch, max_tokens: int) -> torch.Tensor:
    """The score (N,) of every segment, on the CPU; micro-batches of at most ``max_tokens`` tokens."""
    return score_batch(scorer, scoring, _rounds(scorer, scoring, max_tokens))[0]


@torch.enable_grad()
def learn_single_process(
    scorer: Scorer,
    scoring: ScoringBatch,
    objective: Callable[[torch.Tensor], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    max_tokens: int,
) -> torch.Tensor:
    """One optimizer step on ``objective(score_N)``; the scores before it.

    The same two exact steps as in training: dL/dscore from the scores, then dL/dscore . score of each micro-batch.
    """
    rounds = _rounds(scorer, scoring, max_tokens)
    leaf_N = score_batch(scorer, scoring, rounds)[0].requires_grad_()
    (gradient_N,) = torch.autograd.grad(objective(leaf_N), leaf_N)
    for packed, _ in rounds:
        score_B, _ = scorer(packed, scoring.aspect_N.to(packed.order_B.device)[packed.order_B])
        (gradient_N[packed.order_B.cpu()].to(score_B) * score_B).sum().backward()
    torch.nn.utils.clip_grad_norm_(scorer.parameters(), _CLIP_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return leaf_N.detach()


def _rounds(scorer: Scorer, scoring: ScoringBatch, max_tokens: int) -> list[tuple[PackedBatch, bool]]:
    device = next(scorer.parameters()).device
    return [(pack(batch).to(device), True) for batch in micro_batches(scoring.groups, max_tokens)]
