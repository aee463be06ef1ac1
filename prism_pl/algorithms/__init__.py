"""RL algorithms, chosen by ``class_path``; each brings its own paper's defaults. Estimator and objective swap alone."""

from prism_pl.algorithms.advantages import (
    AdvantageEstimator,
    BatchWhitened,
    DecoupledNormalised,
    GroupCentred,
    GroupNormalised,
    LeaveOneOut,
)
from prism_pl.algorithms.base import Algorithm
from prism_pl.algorithms.cispo import CISPO
from prism_pl.algorithms.dapo import DAPO
from prism_pl.algorithms.divergence import divergence
from prism_pl.algorithms.dr_grpo import DrGRPO
from prism_pl.algorithms.grpo import GRPO
from prism_pl.algorithms.gspo import GSPO
from prism_pl.algorithms.inputs import LossInputs, Outcomes, RewardTerm
from prism_pl.algorithms.objectives import CappedWeight, PolicyObjective, SequenceClip, SoftGate, TokenClip
from prism_pl.algorithms.reinforce_plus_plus import ReinforcePlusPlus
from prism_pl.algorithms.rloo import RLOO
from prism_pl.algorithms.sapo import SAPO

__all__ = [
    "CISPO",
    "DAPO",
    "GRPO",
    "GSPO",
    "RLOO",
    "SAPO",
    "AdvantageEstimator",
    "Algorithm",
    "BatchWhitened",
    "CappedWeight",
    "DecoupledNormalised",
    "DrGRPO",
    "GroupCentred",
    "GroupNormalised",
    "LeaveOneOut",
    "LossInputs",
    "Outcomes",
    "PolicyObjective",
    "ReinforcePlusPlus",
    "RewardTerm",
    "SequenceClip",
    "SoftGate",
    "TokenClip",
    "divergence",
]
