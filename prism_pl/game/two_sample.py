"""A classifier two-sample test: can a discriminator that has never seen the policy still learn to tell it from the teacher?

A fresh network trains for a few steps on one half of the pairs and is tested on the other. At 50 % teacher and policy are
alike to it (Lopez-Paz and Oquab, arXiv 1610.06545). The game's own discriminator cannot answer this: its gap may stand at
the equilibrium of its regulariser.
"""

from dataclasses import dataclass

import torch

from prism_pl.discriminators import Scorer
from prism_pl.game.monitors import accuracy
from prism_pl.game.objective import preference_loss
from prism_pl.game.trial import Trial, arrange, score_trial
from prism_pl.packing import micro_batches, pack


@dataclass(frozen=True, kw_only=True)
class TwoSampleOptions:
    """How the fresh discriminator is trained."""

    steps: int = 10
    learning_rate: float = 3e-4
    max_tokens: int = 8192
    """Padded tokens of a micro-batch."""


@torch.enable_grad()
def two_sample_accuracy(scorer: Scorer, training: Trial, testing: Trial, options: TwoSampleOptions) -> torch.Tensor:
    """Pair accuracy (pairs, K) on ``testing`` after training on ``training``; trains ``scorer`` in place."""
    optimizer = torch.optim.AdamW([p for p in scorer.parameters() if p.requires_grad], lr=options.learning_rate)
    scorer.train()
    for _ in range(options.steps):
        score_N = _scores(scorer, training, options)
        leaf_N = score_N.requires_grad_()
        scores = arrange(leaf_N, training)
        (slope_N,) = torch.autograd.grad(preference_loss(scores, float(scores.valid_PG.sum()), 0.001), leaf_N)
        for batch in micro_batches(training.groups, options.max_tokens):
            packed = pack(batch).to(_device(scorer))
            expert_B = training.expert_N.to(packed.order_B.device)[packed.order_B]
            score_B, _ = scorer(packed, expert_B)
            (slope_N[packed.order_B.cpu()].to(score_B) * score_B).sum().backward()
        torch.nn.utils.clip_grad_norm_(scorer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    scorer.eval()
    return accuracy(arrange(_scores(scorer, testing, options), testing).margin_MK)


def _scores(scorer: Scorer, trial: Trial, options: TwoSampleOptions) -> torch.Tensor:
    device = _device(scorer)
    rounds = ((pack(batch).to(device), True) for batch in micro_batches(trial.groups, options.max_tokens))
    return score_trial(scorer, trial, rounds)[0]


def _device(scorer: Scorer) -> torch.device:
    return next(scorer.parameters()).device
