"""The paper's seven benchmarks: how a row of each becomes a question with its true answers, and what is counted of them.

A benchmark's row becomes a row of our own schema, so that engines, rewards, judges and figures see no difference.
"""

from prism_pl.evaluation.benchmarks.base import Benchmark, BenchmarkRow, Membership
from prism_pl.evaluation.benchmarks.hallusion_bench import HALLUSION_BENCH
from prism_pl.evaluation.benchmarks.mathverse import MATHVERSE
from prism_pl.evaluation.benchmarks.mathvision import MATHVISION
from prism_pl.evaluation.benchmarks.mathvista import MATHVISTA
from prism_pl.evaluation.benchmarks.mmmu import MMMU, MMMU_PRO
from prism_pl.evaluation.benchmarks.wemath import WEMATH

SEVEN = {one.name: one for one in (MATHVISTA, MATHVERSE, MATHVISION, WEMATH, MMMU, MMMU_PRO, HALLUSION_BENCH)}
"""By the paper's names, in its order."""

__all__ = ["SEVEN", "Benchmark", "BenchmarkRow", "Membership"]
