"""How far the policy's responses are from the teacher's, as torchmetrics classes, and what the distance is for none."""

from prism_pl.drift.clouds import CLOUD_DISTANCES, CloudDistance, FrechetDistance, KernelDistance, Precision, Recall
from prism_pl.drift.distributions import (
    LENGTH_BINS,
    CountDistance,
    JensenShannon,
    KullbackLeibler,
    TotalVariation,
    Wasserstein,
    bin_width,
    measured,
    shares,
)
from prism_pl.drift.encoders import HiddenStates, ResponseEncoder, SentenceEncoder
from prism_pl.drift.floor import Drift, Ranged, drift, floor_of
from prism_pl.drift.responses import COUNT_DISTANCES, Counted, caption_items, counted, reasoning_steps, together

__all__ = [
    "CLOUD_DISTANCES",
    "COUNT_DISTANCES",
    "LENGTH_BINS",
    "CloudDistance",
    "CountDistance",
    "Counted",
    "Drift",
    "FrechetDistance",
    "HiddenStates",
    "JensenShannon",
    "KernelDistance",
    "KullbackLeibler",
    "Precision",
    "Ranged",
    "Recall",
    "ResponseEncoder",
    "SentenceEncoder",
    "TotalVariation",
    "Wasserstein",
    "bin_width",
    "caption_items",
    "counted",
    "drift",
    "floor_of",
    "measured",
    "reasoning_steps",
    "shares",
    "together",
]
