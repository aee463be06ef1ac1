"""A worker that hangs or dies costs one answer."""

import logging
import time

import pytest

from prism_pl.rewards.verification.supervisor import Worker


def test_a_hanging_expression_is_wrong_and_the_next_one_is_judged(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker()
    assert worker.equal("x+1", "1+x", 60)
    start = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert not worker.equal("99999999!", "5", 0.5)
    assert time.monotonic() - start < 60
    assert "No verdict" in caplog.text
    assert "99999999!" in caplog.text
    assert worker.kills == 1
    assert worker.equal("x+1", "1+x", 60)
    worker.close()


def test_a_killed_worker_is_replaced() -> None:
    worker = Worker()
    assert worker.equal("2", "2", 60)
    assert worker._process is not None
    worker._process.kill()
    worker._process.wait()
    assert worker.equal("2", "2", 60)
    assert worker.kills == 0
    worker.close()
