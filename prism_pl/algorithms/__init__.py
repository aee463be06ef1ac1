"""RL algorithms, chosen by ``class_path``; each brings its own paper's defaults."""

from prism_pl.algorithms.base import Algorithm, PolicyTerms
from prism_pl.algorithms.dapo import DAPO
from prism_pl.algorithms.grpo import GRPO
from prism_pl.algorithms.gspo import GSPO

__all__ = ["DAPO", "GRPO", "GSPO", "Algorithm", "PolicyTerms"]
