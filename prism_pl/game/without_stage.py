"""Scoring and learning outside a stage: for reports, probes and benchmarks.

Ranks that share a sharded discriminator all call these together, each with segments of its own. They then learn what one
process would from all of them: losses have global denominators, and every rank makes the same number of passes.
"""

from collections.abc import Callable

import torch
from torch.distributed.tensor import DTensor

from prism_pl.discriminators import Scorer
from prism_pl.game.scoring_batch import ScoringBatch, differentiate, score
from prism_pl.model.attention import attention_of, padded_shape
from prism_pl.model.packing import FILLER, PackedBatch, micro_batches, pack
from prism_pl.model.sharding import device_of, gradient_norm
from prism_pl.ranks import gather_objects

_CLIP_NORM = 1.0


def score_without_stage(scorer: Scorer, batch: ScoringBatch, max_tokens: int) -> torch.Tensor:
    """The score (N,) of every own segment, on the CPU; micro-batches of at most ``max_tokens`` tokens."""
    return score(scorer, batch, _packed(scorer, batch, max_tokens)).score_N


@torch.enable_grad()
def learn_without_stage(
    scorer: Scorer,
    batch: ScoringBatch,
    objective: Callable[[torch.Tensor], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    max_tokens: int,
) -> torch.Tensor:
    """One optimizer step on the sum over ranks of ``objective(score_N)``; the own scores before it."""
    packed = _packed(scorer, batch, max_tokens)
    leaf_N = score(scorer, batch, packed).score_N.requires_grad_()
    (gradient_N,) = torch.autograd.grad(objective(leaf_N), leaf_N)
    # Sharded gradients are averages over ranks.
    num_ranks = len(together(scorer, None))

    def backward(loss: torch.Tensor) -> None:
        (loss * num_ranks).backward()

    differentiate(
        scorer, batch, gradient_N, packed, backward, backward_filler=lambda score_B: (0.0 * score_B.sum()).backward()
    )
    trained = [parameter for parameter in scorer.parameters() if parameter.grad is not None]
    torch.nn.utils.clip_grads_with_norm_(trained, _CLIP_NORM, gradient_norm(trained))
    optimizer.step()
    optimizer.zero_grad()
    return leaf_N.detach()


def together(scorer: Scorer, own: float | None) -> list[float | None]:
    """The value of each rank that shares the discriminator's shards."""
    return gather_objects(own) if any(isinstance(p, DTensor) for p in scorer.parameters()) else [own]


def _packed(scorer: Scorer, batch: ScoringBatch, max_tokens: int) -> list[tuple[PackedBatch, bool]]:
    """With whether each is filler, which a rank with fewer micro-batches than others goes through."""
    device = device_of(scorer)
    shape = padded_shape(attention_of(scorer.model), device, max_tokens)
    own = micro_batches(batch.groups, max_tokens)
    count = int(max(value or 0 for value in together(scorer, len(own))))
    filled = [(batch, False) for batch in own] + [([FILLER], True)] * (count - len(own))
    return [(pack(batch, *shape).to(device), is_filler) for batch, is_filler in filled]
