"""Seconds and peak memory of a piece of work in a process of its own, so that neither sees the other's."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def child(work: Callable[[], float | None], repeats: int) -> None:
    """Runs ``work`` once to warm up, then ``repeats`` times; prints median seconds, median seconds of processor time, the
    peak above the start, and what the first run returned."""
    before = peak_kib()
    value = work()
    seconds, processor = [], []
    for _ in range(repeats):
        start, busy = time.perf_counter(), time.process_time()
        work()
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - busy)
    peak = peak_kib() - before
    times = {"seconds": statistics.median(seconds), "processor": statistics.median(processor)}
    print(json.dumps(times | {"mib": peak / 1024, "value": value}))


def peak_kib() -> int:
    """The most that this program has held at once. Not ``ru_maxrss``: that begins with what its parent process held."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


def measured(module: str, *arguments: str) -> dict[str, Any]:
    """The figures of ``python -m module arguments``, which prints them last, as JSON; ``child`` does."""
    run = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr[-2000:])
    return json.loads(run.stdout.strip().splitlines()[-1])
