"""The paper's own table (arXiv 2604.28123): accuracy in percent, temperature 1, top-p 0.7, one sample a question.

The paper's scorers let a judge raise a verdict of the rules and never lower it; ours are rules unless a judge is asked for,
which may do both. So a published row is beside ours for orientation, not as a comparison.
"""

import re
from collections.abc import Sequence

BENCHMARKS = ("MathVista", "MathVerse", "MathVision", "WeMath", "MMMU", "MMMU-Pro", "HallusionBench")
PUBLISHED: dict[str, tuple[float, ...]] = {
    "Qwen3-VL-4B Instruct": (74.9, 59.0, 36.5, 70.7, 63.6, 45.1, 68.2),
    "Qwen3-VL-4B SFT": (71.5, 58.4, 31.9, 70.6, 53.6, 42.8, 69.1),
    "Qwen3-VL-4B SFT+GRPO": (75.7, 64.5, 35.5, 77.8, 60.1, 47.3, 72.0),
    "Qwen3-VL-4B SFT+DAPO": (74.3, 65.1, 42.7, 77.2, 62.5, 48.0, 72.3),
    "Qwen3-VL-4B SFT+GSPO": (75.2, 64.0, 37.5, 78.4, 58.7, 45.6, 71.9),
    "Qwen3-VL-4B PRISM, aligned": (71.0, 59.5, 30.6, 67.5, 56.3, 42.8, 72.6),
    "Qwen3-VL-4B PRISM+GRPO": (77.9, 68.6, 45.4, 82.9, 64.1, 49.7, 74.8),
    "Qwen3-VL-4B PRISM+DAPO": (77.8, 68.2, 46.7, 83.9, 64.1, 50.4, 72.9),
    "Qwen3-VL-4B PRISM+GSPO": (77.5, 66.6, 46.7, 82.3, 63.2, 51.1, 72.9),
    "Qwen3-VL-8B Instruct": (76.0, 62.4, 43.7, 71.7, 65.6, 52.3, 71.6),
    "Qwen3-VL-8B SFT": (70.2, 60.4, 32.6, 73.4, 56.3, 42.9, 71.2),
    "Qwen3-VL-8B SFT+GRPO": (75.9, 66.9, 37.1, 79.7, 62.6, 48.8, 71.9),
    "Qwen3-VL-8B SFT+DAPO": (77.0, 69.8, 41.5, 84.3, 63.0, 49.0, 71.5),
    "Qwen3-VL-8B SFT+GSPO": (75.9, 65.5, 41.1, 80.8, 58.2, 47.8, 73.6),
    "Qwen3-VL-8B PRISM, aligned": (71.4, 62.2, 37.1, 73.1, 58.4, 43.4, 69.5),
    "Qwen3-VL-8B PRISM+GRPO": (78.3, 71.3, 52.0, 86.4, 66.6, 53.3, 77.2),
    "Qwen3-VL-8B PRISM+DAPO": (78.2, 70.9, 52.0, 86.2, 66.2, 52.4, 76.1),
    "Qwen3-VL-8B PRISM+GSPO": (77.9, 71.5, 51.6, 85.9, 65.2, 52.7, 75.8),
}
"""A value each of ``BENCHMARKS``, in their order."""


def benchmark(name: str) -> str | None:
    """The benchmark that a set's name means, whatever its capitals and hyphens.

    >>> benchmark("mmmu_pro"), benchmark("MathVista"), benchmark("test")
    ('MMMU-Pro', 'MathVista', None)
    """
    return next((known for known in BENCHMARKS if _plain(known) == _plain(name)), None)


def published(benchmarks: Sequence[str]) -> dict[str, list[float]]:
    """The paper's rows for some of ``BENCHMARKS``."""
    places = [BENCHMARKS.index(name) for name in benchmarks]
    return {row: [values[place] for place in places] for row, values in PUBLISHED.items()}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
