"""Seconds and peak memory of a piece of work in a process of its own, so that neither sees the other's."""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any


def child(work: Callable[[], float | None], repeats: int) -> None:
    """Runs ``work`` once to warm up, then ``repeats`` times; prints median seconds, the peak above the start, and what the
    first run returned."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    value = work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": statistics.median(seconds), "mib": peak / 1024, "value": value}))


def measured(module: str, *arguments: str) -> dict[str, Any]:
    """The figures of ``python -m module arguments``, which prints them last, as JSON; ``child`` does."""
    run = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr[-2000:])
    return json.loads(run.stdout.strip().splitlines()[-1])
