"""Mathematics in a worker process, so that an expression that never ends costs its answer and not the run.

math-verify stops itself by signals, which work in a main thread only and not inside one long integer operation. Here a
worker that is silent for too long is killed and replaced, and its memory is limited.
"""

import atexit
import json
import logging
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

_SCRIPT = Path(__file__).with_name("worker.py")
_log = logging.getLogger(__name__)
SECONDS = 5.0
"""Processor time for one comparison."""
_WALL_SECONDS = 120.0
_START_SECONDS = 120.0
_WARNINGS = 5


class Worker:
    """One process that compares expressions; started on first use and after each kill."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.kills = 0

    def equal(self, prediction: str, answer: str, seconds: float = SECONDS) -> bool:
        """False also when the worker needs too long or dies of the expression, which is warned of."""
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                self._kill()  # it died between two answers, of neither
            process = self._process or self._start()
            assert process.stdin is not None
            process.stdin.write(json.dumps([prediction, answer, seconds]).encode() + b"\n")
            process.stdin.flush()
            reply = self._read(process, _WALL_SECONDS)
            if reply is None:
                self._kill()
                self.kills += 1
                if self.kills <= _WARNINGS:
                    _log.warning(
                        "No verdict within %.0f s or 2 GiB, counted as wrong: answer %.80r against %.80r.",
                        seconds, prediction, answer,
                    )  # fmt: skip
            return reply == b"1"

    def close(self) -> None:
        with self._lock:
            self._kill()

    def _start(self) -> subprocess.Popen[bytes]:
        # A fresh interpreter: a fork would copy the trainer's threads' locks, a spawn would import the whole trainer.
        # By its path: as a module it would import the rewards, and torch with them.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        if self._read(self._process, _START_SECONDS) != b"ready":
            self._kill()
            raise RuntimeError("The verification worker did not start; its own message is above.")
        return self._process

    def _read(self, process: subprocess.Popen[bytes], seconds: float) -> bytes | None:
        """One line, or None if there is none in time."""
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], seconds)[0]:
            return None
        return process.stdout.readline().strip() or None

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


_worker = Worker()
atexit.register(_worker.close)


def equal_expressions(prediction: str, answer: str) -> bool:
    """True if math-verify holds two canonical texts for equal."""
    return _worker.equal(prediction, answer)
