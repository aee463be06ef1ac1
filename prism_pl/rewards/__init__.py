"""Verifiable rewards, chosen by ``class_path``."""

from prism_pl.rewards.answer import AnswerReward
from prism_pl.rewards.base import Graded, Grader, Reward, check_rewards
from prism_pl.rewards.choice import MultipleChoiceReward
from prism_pl.rewards.counts import counted, counts_line
from prism_pl.rewards.format import FormatReward
from prism_pl.rewards.judge import JudgeEndpoint, JudgeReward
from prism_pl.rewards.numeric import NumericReward
from prism_pl.rewards.python import PythonReward

__all__ = [
    "AnswerReward",
    "FormatReward",
    "Graded",
    "Grader",
    "JudgeEndpoint",
    "JudgeReward",
    "MultipleChoiceReward",
    "NumericReward",
    "PythonReward",
    "Reward",
    "check_rewards",
    "counted",
    "counts_line",
]
