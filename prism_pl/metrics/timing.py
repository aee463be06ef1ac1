"""Seconds of each phase of a step, as metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prism_pl.metrics.means import Means


@contextmanager
def timed(phase: str, means: Means) -> Iterator[None]:
    """Adds the wall-clock time of the block as ``seconds/<phase>``."""
    start = time.perf_counter()
    try:
        yield
    finally:
        means.add(f"seconds/{phase}", time.perf_counter() - start)
