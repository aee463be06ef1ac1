"""Verifiable rewards, chosen by ``class_path``."""

from prism_pl.rewards.answer import AnswerReward
from prism_pl.rewards.base import Reward, total_reward
from prism_pl.rewards.format import FormatReward

__all__ = ["AnswerReward", "FormatReward", "Reward", "total_reward"]
