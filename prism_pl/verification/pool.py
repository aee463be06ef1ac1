"""Questions to a pool of worker processes, so that an answer that never ends costs its verdict and not the run.

What the exact rules decide is decided here. What needs mathematics goes to a worker. One that is silent for too long is
killed and replaced, and its memory is limited: an answer is bounded as a whole, whatever it holds. math-verify's own
timeouts are signals, which work in a main thread only and not inside one long integer operation.
"""

import atexit
import json
import logging
import os
import select
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from queue import LifoQueue
from typing import NamedTuple

from prism_pl.verification.agreement import MAX_CHARACTERS, Agreement, MathematicsNeededError, needs_mathematics
from prism_pl.verification.phrases import has_words
from prism_pl.verification.text import canonical

_SCRIPT = Path(__file__).with_name("worker.py")
_log = logging.getLogger(__name__)
SECONDS = 3.0
"""Processor time for one answer."""
_WALL_SECONDS = 120.0
_START_SECONDS = 120.0
_WARNINGS = 5
_MOST_PROCESSES = 8
_VERDICTS_KEPT = 65536


class Question(NamedTuple):
    """Does a prediction mean the same as the true answer?"""

    prediction: str
    answer: str
    options: tuple[str, ...] = ()
    """Of a multiple-choice question, in their order."""
    words: bool | None = None
    """What every verdict that words leave open is taken as; None is as the rules have it."""


class Verdict(NamedTuple):
    """On one question."""

    right: bool
    """As the rules have it."""
    abstains: bool
    """The rules do not know: the verdict hangs on words that were no more than compared or passed over."""


class Worker:
    """One process that gives verdicts; started on first use and after each kill."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._lock = threading.Lock()
        self.kills = 0

    def agree(self, question: Question, seconds: float = SECONDS) -> bool:
        """False also when the worker needs too long or dies of the question, which is warned of."""
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                self._kill()  # it died between two answers, of neither
            process = self._ready()
            assert process.stdin is not None
            process.stdin.write(json.dumps([*question, seconds]).encode() + b"\n")
            process.stdin.flush()
            reply = self._read(process, _WALL_SECONDS)
            if reply is None:
                self._kill()
                self.kills += 1
                if self.kills <= _WARNINGS:
                    _log.warning(
                        "No verdict within %.0f s or 2 GiB, counted as wrong: answer %.80r against %.80r.",
                        seconds, question.prediction, question.answer,
                    )  # fmt: skip
                self._launch()  # the next answer need not wait for all of the start
            return reply == b"1"

    def close(self) -> None:
        with self._lock:
            self._kill()

    def _launch(self) -> subprocess.Popen[bytes]:
        # A fresh interpreter: a fork would copy the trainer's threads' locks, a spawn would import the whole trainer.
        self._process, self._is_ready = subprocess.Popen(
            [sys.executable, "-P", str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        ), False  # fmt: skip
        return self._process

    def _ready(self) -> subprocess.Popen[bytes]:
        process = self._process or self._launch()
        if not self._is_ready and self._read(process, _START_SECONDS) != b"ready":
            self._kill()
            raise RuntimeError("The verification worker did not start; its own message is above.")
        self._is_ready = True
        return process

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


class Pool:
    """Workers side by side, and the verdicts that they have given.

    Args:
        processes: workers; they start when there is something for them to do.
    """

    def __init__(self, processes: int) -> None:
        self.workers = [Worker() for _ in range(processes)]
        # The one used last comes first: single questions do not start all of them.
        self._idle: LifoQueue[Worker] = LifoQueue()
        for worker in self.workers:
            self._idle.put(worker)
        self._known: OrderedDict[Question, bool] = OrderedDict()
        self._quick = {words: Agreement(needs_mathematics, words) for words in (None, False, True)}

    def agree(self, questions: Sequence[Question]) -> list[bool]:
        """A verdict for each; what was asked before is not judged again."""
        open_questions = [question for question in dict.fromkeys(questions) if not self._decide(question)]
        if open_questions:
            with ThreadPoolExecutor(min(len(self.workers), len(open_questions))) as threads:
                self._known.update(zip(open_questions, threads.map(self._ask, open_questions), strict=True))
        verdicts = [self._known[question] for question in questions]
        while len(self._known) > _VERDICTS_KEPT:
            self._known.popitem(last=False)
        return verdicts

    def close(self) -> None:
        for worker in self.workers:
            worker.close()

    def _decide(self, question: Question) -> bool:
        """Whether the verdict is known, or can be had without mathematics."""
        if question not in self._known:
            try:
                self._known[question] = self._quick[question.words](*question[:3])
            except MathematicsNeededError:
                return False
        return True

    def _ask(self, question: Question) -> bool:
        worker = self._idle.get()
        try:
            return worker.agree(question)
        finally:
            self._idle.put(worker)


@cache
def _shared_pool(processes: int) -> Pool:
    pool = Pool(processes)
    atexit.register(pool.close)
    return pool


def default_processes() -> int:
    """The cores of this process's share of the machine, at most eight."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(_MOST_PROCESSES, len(os.sched_getaffinity(0)) // ranks))


def agree(questions: Sequence[Question], processes: int | None = None) -> list[bool]:
    """A verdict for each question. ``processes`` workers do the mathematics, by default as many as there are cores."""
    return _shared_pool(processes or default_processes()).agree(questions)


def verdicts(questions: Sequence[Question], processes: int | None = None) -> list[Verdict]:
    """The same, and whether the rules abstain: with all verdicts that words leave open taken as wrong, or all as right, the
    answer would be judged otherwise.

    >>> asked = [("a dog", "a cat"), ("5", "6"), ("Yes, as it rains", "yes"), ("12", "12.0")]
    >>> [tuple(verdict) for verdict in verdicts([Question(*texts) for texts in asked])]
    [(False, True), (False, False), (True, True), (True, False)]
    """
    as_is = agree(questions, processes)
    # Without words nothing is open: mathematics is done once.
    wordy = [question for question in questions if _has_words(question.prediction) or _has_words(question.answer)]
    taken = [agree([question._replace(words=words) for question in wordy], processes) for words in (False, True)]
    bounds = dict(zip(wordy, zip(*taken, strict=True), strict=True))
    return [
        Verdict(right, {right, *bounds.get(question, ())} == {True, False})
        for question, right in zip(questions, as_is, strict=True)
    ]


def _has_words(text: str) -> bool:
    return has_words(canonical(text) if len(text) <= MAX_CHARACTERS else " ".join(text.split()))


def answers_agree(prediction: str, answer: str, options: tuple[str, ...] = ()) -> bool:
    """True if ``prediction`` means the same as the true ``answer``. Bounded in time and memory.

    >>> answers_agree("12.50", "12.5"), answers_agree("5 kg", "5 lb"), answers_agree("(1,2)", "(1, 2)")
    (True, False, True)
    """
    return agree([Question(prediction, answer, options)])[0]
