"""A worker that hangs or dies costs one answer; many answers are judged side by side."""

import logging
import os
import time

import pytest

from prism_pl.verification.agreement import MAX_NESTING
from prism_pl.verification.phrases import has_words
from prism_pl.verification.pool import SECONDS, Pool, Question, Worker, agree, default_processes, verdicts
from tests.prism_pl.verification.cases import ALL

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


# What words leave open: nothing but words could say whether the answer is right.
OPEN = [
    ("a dog", "a cat"), ("Paris", "Paris, the capital of France"), ("increasing", r"\text{decreasing}"), ("no idea", "12"),
    ("12 or 13 apples", "12"), ("It does indeed", "yes"), ("a cat", "B"), ("n + 1 is odd", "n + 2 is odd"),
    ("1, blue", "1, red"), ("It rises. " * 120, "It rises"),
]  # fmt: skip
# Right by the rules, which have passed over words on the way.
PASSED_OVER = [
    ("Yes, as it rains", "yes"), ("Not A, so B", "B"), ("B, since C is too large", "B"),
    ("The hall was full when 12 people came", "12"),
]  # fmt: skip
DECIDED = [
    ("cats", "a cat"), ("5", "6"), ("No, never", "yes"), ("The answer is yes.", "yes"), ("option (b)", "B"), ("13", "B"),
    ("Not A, so C", "B"), ("There are 13 apples", "12"), ("5 kg", "5 lb"), ("x = 2", "x = 3"), ("", "a cat"),
    ("2020-03-05", "5 March 2020"), ("1, blue", "1, blue"), ("9^{" * 40, "a"), ("no solution", r"\emptyset"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "right", "abstains"), [(OPEN, False, True), (PASSED_OVER, True, True), (DECIDED, None, False)]
)
def test_the_rules_abstain_where_words_decide(pairs: list[tuple[str, str]], right: bool | None, abstains: bool) -> None:
    found = verdicts([Question(*pair) for pair in pairs], 1)
    assert [verdict.abstains for verdict in found] == [abstains] * len(pairs)
    expected = agree([Question(*pair) for pair in pairs], 1) if right is None else [right] * len(pairs)
    assert [verdict.right for verdict in found] == expected


def test_options_decide_for_a_letter_and_for_their_texts() -> None:
    options = ("a small dog", "a cat")
    asked = [Question(said, "B", options) for said in ("B", "a cat", "a small dog", "(A) a small dog", "the feline")]
    assert [tuple(verdict) for verdict in verdicts(asked, 1)] == [
        (True, False), (True, False), (False, False), (False, False), (False, True),
    ]  # fmt: skip


def test_what_has_no_words_is_decided_and_the_verdict_is_the_rules_own() -> None:
    cases = sorted(case for case in ALL if len(case[0]) + len(case[1]) < 40)[::2]
    assert len(cases) > 100
    questions = [Question(text, gold) for gold, text, _ in cases]
    found = verdicts(questions, 1)
    assert [verdict.right for verdict in found] == agree(questions, 1)
    assert all(has_words(q.prediction) or has_words(q.answer) for q, v in zip(questions, found, strict=True) if v.abstains)
    assert any(verdict.abstains for verdict in found)
    assert not all(verdict.abstains for verdict in found)
