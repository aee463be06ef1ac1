"""A worker that hangs or dies costs one answer; many answers are judged side by side."""

import logging
import os
import time

import pytest

from prism_pl.verification.agreement import MAX_NESTING
from prism_pl.verification.pool import SECONDS, Pool, Question, Worker, default_processes

ENDLESS = "9^{9^{9^9}}"


def test_an_endless_answer_is_wrong_and_the_next_one_is_judged(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker()
    assert worker.agree(Question("x+1", "1+x"), 60)
    with caplog.at_level(logging.WARNING):
        assert not worker.agree(Question(ENDLESS, "5"), 0.5)
    assert "No verdict" in caplog.text
    assert ENDLESS in caplog.text
    assert worker.kills == 1
    assert worker.agree(Question("x+1", "1+x"), 60)
    worker.close()


def test_the_limit_is_for_the_answer_and_not_for_each_of_its_members() -> None:
    worker = Worker()
    assert worker.agree(Question("x+1", "1+x"), 60)
    start = os.times()
    # Thirty-six comparisons, each of which would never end.
    assert not worker.agree(Question(", ".join([ENDLESS] * 6), ", ".join(["8^{9^{9^9}}"] * 6)), 1.0)
    end = os.times()
    assert worker.kills == 1
    worker.close()
    # Processor time of the child that was killed: one limit, where a limit for each would be thirty-six.
    assert end.children_user + end.children_system - start.children_user - start.children_system < 15
    assert SECONDS <= 5


@pytest.mark.parametrize(
    "prediction",
    [
        ENDLESS,
        "99999999!",
        "(x+1)^{99999}",
        "x^{x^{x^{x}}} > 3",
        "{" * MAX_NESTING + "5" + "}" * MAX_NESTING,
        "9^{" * 20 + "9" + "}" * 20,
    ],
)
def test_no_answer_is_endless(prediction: str) -> None:
    pool = Pool(1)
    start = time.monotonic()
    assert pool.agree([Question(prediction, "x+2")]) == [False]
    # No measure of speed: what has no limit at all does not come back within a minute.
    assert time.monotonic() - start < 60
    pool.close()


def test_a_killed_worker_is_replaced() -> None:
    worker = Worker()
    assert worker.agree(Question("2", "2"), 60)
    assert worker._process is not None
    worker._process.kill()
    worker._process.wait()
    assert worker.agree(Question("2", "2"), 60)
    assert worker.kills == 0
    worker.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_verdicts_do_not_depend_on_the_number_of_processes(processes: int) -> None:
    pool = Pool(processes)
    questions = [Question(f"x+{n}", f"{n % 7}+x") for n in range(21)] + [
        Question("5", "5.0"),
        Question("B", "14", ("12", "14")),
    ]
    assert pool.agree(questions) == [n == n % 7 for n in range(21)] + [True, True]
    started = [worker for worker in pool.workers if worker._process is not None]
    assert len(started) == processes
    pool.close()


def test_what_needs_no_mathematics_starts_no_worker() -> None:
    pool = Pool(2)
    assert pool.agree([Question("12.50", "12.5"), Question("B", "(B)"), Question("5 kg", "5 lb")]) == [True, True, False]
    assert all(worker._process is None for worker in pool.workers)
    assert pool.agree([]) == []


def test_a_question_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, asked = Pool(1), []
    monkeypatch.setattr(pool, "_ask", lambda question: asked.append(question) or True)
    question = Question("x+1", "1+x")
    assert pool.agree([question, question]) == [True, True]
    assert pool.agree([question]) == [True]
    assert asked == [question]


def test_ranks_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)))
    assert default_processes() == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert default_processes() == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert default_processes() == 1
