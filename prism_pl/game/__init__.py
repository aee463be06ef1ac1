"""The adversarial game (arXiv 2604.28123): who is judged, what scores mean to the policy, what the discriminator learns."""

from prism_pl.game.advantages import (
    AdversarialAdvantage,
    MixCentred,
    MixThenNormalise,
    NormaliseThenMix,
    ReleasedAdvantage,
)
from prism_pl.game.alone import learn_alone, score_alone
from prism_pl.game.docket import Docket, make_docket
from prism_pl.game.health import Alarm, HealthLimits, diagnose
from prism_pl.game.mismatch import across_loss, lenders
from prism_pl.game.negatives import NegativeBuffer, NegativesOptions
from prism_pl.game.objective import ObjectiveOptions, preference_loss
from prism_pl.game.trial import Scores, Trial, arrange, make_trial, score_trial
from prism_pl.game.two_sample import TwoSampleOptions, two_sample_accuracy

__all__ = [
    "AdversarialAdvantage",
    "Alarm",
    "Docket",
    "HealthLimits",
    "MixCentred",
    "MixThenNormalise",
    "NegativeBuffer",
    "NegativesOptions",
    "NormaliseThenMix",
    "ObjectiveOptions",
    "ReleasedAdvantage",
    "Scores",
    "Trial",
    "TwoSampleOptions",
    "across_loss",
    "arrange",
    "diagnose",
    "learn_alone",
    "lenders",
    "make_docket",
    "make_trial",
    "preference_loss",
    "score_alone",
    "score_trial",
    "two_sample_accuracy",
]
