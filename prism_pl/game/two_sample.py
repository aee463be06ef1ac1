"""A classifier two-sample test: can a discriminator that has never seen the policy still learn to tell it from the teacher?

A fresh network trains for a few steps on one half of the pairs and is tested on the other. At 50 % teacher and policy are
alike to it (Lopez-Paz and Oquab, arXiv 1610.06545). The game's own discriminator cannot answer this: its gap may stand at
the equilibrium of its regulariser.
"""

from dataclasses import dataclass

import torch

from prism_pl.discriminators import Scorer
from prism_pl.game.loss import preference_loss
from prism_pl.game.monitors import accuracy
from prism_pl.game.scoring_batch import ScoringBatch, arrange
from prism_pl.game.without_stage import learn_without_stage, score_without_stage, together
from prism_pl.ranges import PositiveFloat, PositiveInt

_SCORE_PENALTY = 0.001


@dataclass(frozen=True, kw_only=True)
class TwoSampleOptions:
    """How the fresh discriminator is trained."""

    steps: PositiveInt = 10
    learning_rate: PositiveFloat = 3e-4
    max_tokens: PositiveInt = 8192
    """Padded tokens of a micro-batch."""


def two_sample_accuracy(
    scorer: Scorer, training: ScoringBatch, testing: ScoringBatch, options: TwoSampleOptions
) -> torch.Tensor:
    """Pair accuracy (pairs, K) on ``testing`` after training on ``training``; trains ``scorer`` in place.

    If ranks share its shards, it learns from the pairs of all of them, and the accuracy is on this rank's.
    """
    optimizer = torch.optim.AdamW([p for p in scorer.parameters() if p.requires_grad], lr=options.learning_rate)

    num_pairs = sum(count or 0.0 for count in together(scorer, float(training.valid_PG.sum())))

    def objective(score_N: torch.Tensor) -> torch.Tensor:
        return preference_loss(arrange(score_N, training), num_pairs, _SCORE_PENALTY)

    scorer.train()
    for _ in range(options.steps):
        learn_without_stage(scorer, training, objective, optimizer, options.max_tokens)
    scorer.eval()
    return accuracy(arrange(score_without_stage(scorer, testing, options.max_tokens), testing).margin_MK)
