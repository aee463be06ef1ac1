"""A sign of life from each rank, in a file of its own, and what becomes of a run when one stays away.

A stopped or lost process leaves the others waiting in a collective. After the strategy's time limit they end with its
number, the phase that it was last seen in, and the seconds since. Ranks see the files of their own disk alone.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SIGNS_A_LIMIT = 10
_LONGEST_PAUSE = 10.0
"""Seconds between two signs of life."""
MISSING_EXIT = 3
"""Exit code of a rank that has waited in vain."""
_DONE = "done"
_phase = "start"
_told: Callable[[str], None] = lambda phase: None  # noqa: E731


def enter(phase: str) -> None:
    """From here on this rank is in the phase."""
    global _phase
    _phase = phase
    _told(phase)


@contextmanager
def within(phase: str) -> Iterator[None]:
    """This rank is in the phase for the block; after an error it stays there."""
    before = _phase
    enter(phase)
    yield
    enter(before)


class Heartbeat:
    """Writes this rank's file and reads the others', in a thread of its own.

    Args:
        folder: of all ranks' files.
        rank: of this process.
        world_size: number of processes.
        time_limit: seconds without a sign of life after which a rank counts as missing.
        last_act: called before this process ends for a missing rank.
    """

    def __init__(
        self, folder: Path, rank: int, world_size: int, time_limit: float, last_act: Callable[[], None] = lambda: None
    ) -> None:
        self._folder, self._rank, self._world_size, self._limit = folder, rank, world_size, time_limit
        self._pause = min(_LONGEST_PAUSE, time_limit / _SIGNS_A_LIMIT)
        self._last_act = last_act
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._seen: dict[int, tuple[str, float]] = {}
        """Each rank's last sign, and when this process first saw it: by its own clock, as nodes' clocks differ."""

    def start(self) -> None:
        """From now on."""
        global _told
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write(_phase)
        _told = self._write
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def stop(self) -> None:
        """This rank has ended well: nobody is to miss it."""
        global _told
        _told = lambda phase: None  # noqa: E731
        self._ended.set()
        self._write(_DONE)

    def missing(self, limit: float | None = None) -> str:
        """A sentence on each rank without a sign of life for that many seconds, by default the time limit; or nothing."""
        self._look()
        now, limit = time.monotonic(), self._limit if limit is None else limit
        return " ".join(
            f"Rank {rank} is missing: it was last seen in the phase {json.loads(sign)['phase']!r}, "
            f"{now - since:.0f} seconds ago."
            for rank, (sign, since) in self._seen.items()
            if now - since > limit and json.loads(sign)["phase"] != _DONE
        )

    def explain(self) -> str:
        """After a collective that failed: who is missing, or where every rank is."""
        self._look()
        now = time.monotonic()
        phases = (
            f"rank {rank} in {json.loads(sign)['phase']!r}, seen {now - since:.0f} seconds ago"
            for rank, (sign, since) in self._seen.items()
        )
        everyone = f"Of the others: {'; '.join(phases) or 'nothing on this disk'}."
        return f"{self.missing(3 * self._pause)} Rank {self._rank} was in the phase {_phase!r}. {everyone}".strip()

    def _run(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(self._pause):
            now = time.monotonic()
            if now - last > 3 * self._pause:
                # This process was stopped itself: what it has missed is nobody's fault.
                self._seen.clear()
            last = now
            self._write(_phase)
            if sentence := self.missing():
                self._end(sentence)

    def _end(self, sentence: str) -> None:
        print(
            f"\nerror: {sentence} Rank {self._rank} waited in the phase {_phase!r} and ends now, after the strategy's "
            f"time_limit of {self._limit:.0f} seconds. Look at the missing process; the same command resumes the run.",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        self._last_act()
        # The main thread waits in a collective that nothing but the end of the process can leave.
        os._exit(MISSING_EXIT)

    def _look(self) -> None:
        for rank in range(self._world_size):
            try:
                sign = self._file(rank).read_text()
            except FileNotFoundError:
                continue
            if rank != self._rank and (rank not in self._seen or self._seen[rank][0] != sign):
                self._seen[rank] = sign, time.monotonic()

    def _write(self, phase: str) -> None:
        file = self._file(self._rank)
        partial = file.with_suffix(".partial")
        # A full disk must not end the thread that tells the others that this rank lives; the run's own files say of it.
        with self._writing, suppress(OSError):
            partial.write_text(json.dumps({"phase": phase, "time": time.time()}))
            partial.replace(file)

    def _file(self, rank: int) -> Path:
        return self._folder / f"rank{rank}.json"
