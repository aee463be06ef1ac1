"""The adversarial game (arXiv 2604.28123): what is scored, what scores mean to the policy, what is learned."""

from prism_pl.game.advantages import (
    AdversarialAdvantage,
    MixCentred,
    MixThenNormalise,
    NormaliseThenMix,
    ReleasedAdvantage,
)
from prism_pl.game.discriminator_batch import DiscriminatorBatch, make_discriminator_batch
from prism_pl.game.health import Alarm, HealthLimits, Unreached, diagnose
from prism_pl.game.in_batch import across_loss, negative_indices
from prism_pl.game.loss import DiscriminatorLossOptions, preference_loss
from prism_pl.game.replay import ReplayBuffer, ReplayOptions
from prism_pl.game.scoring_batch import Scored, Scores, ScoringBatch, arrange, differentiate, make_scoring_batch, score
from prism_pl.game.two_sample import TwoSampleOptions, two_sample_accuracy
from prism_pl.game.without_stage import learn_without_stage, score_without_stage

__all__ = [
    "AdversarialAdvantage",
    "Alarm",
    "DiscriminatorBatch",
    "DiscriminatorLossOptions",
    "HealthLimits",
    "MixCentred",
    "MixThenNormalise",
    "NormaliseThenMix",
    "ReleasedAdvantage",
    "ReplayBuffer",
    "ReplayOptions",
    "Scored",
    "Scores",
    "ScoringBatch",
    "TwoSampleOptions",
    "Unreached",
    "across_loss",
    "arrange",
    "diagnose",
    "differentiate",
    "learn_without_stage",
    "make_discriminator_batch",
    "make_scoring_batch",
    "negative_indices",
    "preference_loss",
    "score",
    "score_without_stage",
    "two_sample_accuracy",
]
