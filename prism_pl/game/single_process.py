"""Scoring and learning in one process, without a strategy: for reports, probes and benchmarks."""

from collections.abc import Callable

import torch

from prism_pl.discriminators import Scorer
from prism_pl.game.scoring_batch import ScoringBatch, differentiate, score
from prism_pl.model.packing import PackedBatch, micro_batches, pack

_CLIP_NORM = 1.0


def score_single_process(scorer: Scorer, batch: ScoringBatch, max_tokens: int) -> torch.Tensor:
    """The score (N,) of every segment, on the CPU; micro-batches of at most ``max_tokens`` tokens."""
    return score(scorer, batch, _packed(scorer, batch, max_tokens)).score_N


@torch.enable_grad()
def learn_single_process(
    scorer: Scorer,
    batch: ScoringBatch,
    objective: Callable[[torch.Tensor], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    max_tokens: int,
) -> torch.Tensor:
    """One optimizer step on ``objective(score_N)``; the scores before it."""
    packed = _packed(scorer, batch, max_tokens)
    leaf_N = score(scorer, batch, packed).score_N.requires_grad_()
    (gradient_N,) = torch.autograd.grad(objective(leaf_N), leaf_N)
    differentiate(scorer, batch, gradient_N, packed, lambda loss: loss.backward())
    torch.nn.utils.clip_grad_norm_(scorer.parameters(), _CLIP_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return leaf_N.detach()


def _packed(scorer: Scorer, batch: ScoringBatch, max_tokens: int) -> list[tuple[PackedBatch, bool]]:
    device = next(scorer.parameters()).device
    return [(pack(groups).to(device), False) for groups in micro_batches(batch.groups, max_tokens)]
