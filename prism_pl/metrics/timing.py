"""Seconds of each phase of a step, as metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from torchmetrics import Metric

from prism_pl.heartbeat import within
from prism_pl.metrics.collection import StepMetrics, means


class Stopwatch:
    """``seconds`` is set when the timed block ends."""

    seconds: float


def seconds(*phases: str) -> dict[str, Metric]:
    """Declares ``seconds/<phase>``."""
    return means(*(f"seconds/{phase}" for phase in phases))


@contextmanager
def timed(phase: str, metrics: StepMetrics) -> Iterator[Stopwatch]:
    """Adds the wall-clock time of the block as ``seconds/<phase>``; the rank's sign of life tells the phase."""
    watch, start = Stopwatch(), time.perf_counter()
    try:
        with within(phase):
            yield watch
    finally:
        watch.seconds = time.perf_counter() - start
        metrics.add(f"seconds/{phase}", watch.seconds)
