"""R1 in its approximate form: how much noise on the embeddings moves the teachers' scores (arXiv 2501.08316).

    R1 ~ mean |D(x) - D(x + noise)|^2 over the teachers' segments

The exact form needs the gradient of a gradient, which FSDP cannot give.
"""

from collections.abc import Sequence

import torch

from prism_pl.discriminators import Scorer
from prism_pl.game.scoring_batch import ScoringBatch
from prism_pl.model.packing import Group, PackedBatch, make_groups
from prism_pl.seeds import derive_seed
from prism_pl.types import ASPECTS


def teacher_groups(batch: ScoringBatch) -> list[Group]:
    """Each prompt with its teacher's segments alone, which come first in its group."""
    segments = [group.segments[: len(ASPECTS)] for group in batch.groups]
    return make_groups([group.prompt for group in batch.groups], segments)


def noise_effect(
    scorer: Scorer, packed: PackedBatch, groups: Sequence[Group], noise: float, *seed: int | str
) -> torch.Tensor:
    """(D(x) - D(x + noise))^2 of each packed teacher segment, (B,). ``packed`` is a part of the ``groups``.

    The noise is a function of ``seed``, the prompt and the aspect: the number of ranks changes nothing.
    """
    aspect_B = packed.order_B % len(ASPECTS)
    seeds = [
        derive_seed(*seed, groups[order // len(ASPECTS)].prompt.source, order % len(ASPECTS))
        for order in packed.order_B.tolist()
    ]
    clean_B, _ = scorer(packed, aspect_B)
    noisy_B, _ = scorer(packed, aspect_B, (noise, seeds))
    return (clean_B - noisy_B).square()
