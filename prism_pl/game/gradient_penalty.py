"""R1 in its approximate form: how much noise on the embeddings moves the teachers' scores (arXiv 2501.08316).

    R1 ~ mean |D(x) - D(x + noise)|^2 over the teachers' segments

The exact form needs the gradient of a gradient, which FSDP cannot give.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from prism_pl.game.scoring_batch import ScoringBatch
from prism_pl.model.packing import Group, PackedBatch, make_groups
from prism_pl.seeds import derive_seed
from prism_pl.types import ASPECTS


def teacher_groups(batch: ScoringBatch) -> list[Group]:
    """Each prompt with its teacher's segments alone, which come first in its group."""
    segments = [group.segments[: len(ASPECTS)] for group in batch.groups]
    return make_groups([group.prompt for group in batch.groups], segments)


def penalise_noise(
    scorer: Callable[..., tuple[torch.Tensor, Any]],
    packed: PackedBatch,
    groups: Sequence[Group],
    noise: float,
    weight: float,
    backward: Callable[[torch.Tensor], None],
    *seed: int | str,
) -> torch.Tensor:
    """Backward of weight sum_b (D(x_b) - D(x_b + noise))^2 over the packed teacher segments; the squares (B,).

        dL/dtheta = sum_b 2 weight (D(x_b) - D(x_b + noise)) (dD(x_b)/dtheta - dD(x_b + noise)/dtheta)

    One pass at a time, each followed by its own ``backward``: that holds one pass's activations, and a network that
    DeepSpeed has in its hands allows no other order. ``packed`` is a part of the ``groups``. The noise is a function of
    ``seed``, the prompt and the aspect: the number of ranks changes nothing.
    """
    aspect_B = packed.order_B % len(ASPECTS)
    seeds = [
        derive_seed(*seed, groups[order // len(ASPECTS)].prompt.source, order % len(ASPECTS))
        for order in packed.order_B.tolist()
    ]
    with torch.no_grad():
        noisy_B, _ = scorer(packed, aspect_B, (noise, seeds))
    clean_B, _ = scorer(packed, aspect_B)
    effect_B = clean_B.detach() - noisy_B
    backward((2 * weight * effect_B * clean_B).sum())
    noisy_B, _ = scorer(packed, aspect_B, (noise, seeds))
    backward((-2 * weight * effect_B * noisy_B).sum())
    return effect_B.square()
