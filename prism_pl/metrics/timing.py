"""Seconds of each phase of a step and, on a GPU, the most memory that it held, as metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torchmetrics import Metric

from prism_pl.heartbeat import within
from prism_pl.metrics.collection import StepMetrics, maxima, means


class Stopwatch:
    """``seconds`` is set when the timed block ends."""

    seconds: float


def seconds(*phases: str) -> dict[str, Metric]:
    """Declares ``seconds/<phase>`` and ``memory_gib/<phase>``."""
    return means(*(f"seconds/{phase}" for phase in phases)) | maxima(*(f"memory_gib/{phase}" for phase in phases))


@contextmanager
def timed(phase: str, metrics: StepMetrics) -> Iterator[Stopwatch]:
    """Adds the wall-clock time of the block as ``seconds/<phase>``; the rank's sign of life tells the phase.

    On a GPU ``memory_gib/<phase>`` is the most that torch has held at once in the block, an engine's part left out.
    """
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    watch, start = Stopwatch(), time.perf_counter()
    try:
        with within(phase):
            yield watch
    finally:
        watch.seconds = time.perf_counter() - start
        metrics.add(f"seconds/{phase}", watch.seconds)
        if on_gpu:
            metrics.add(f"memory_gib/{phase}", torch.cuda.max_memory_allocated() / 2**30)
