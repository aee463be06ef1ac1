"""What a cluster does to a job on two processes: a signal at a random moment, and the same command again."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from prism_pl.runs.checkpoint import newest_checkpoint
from tests.faults.kills import Killed, timeless
from tests.faults.ranks import Ranks
from tests.modules.aligning import arguments

pytestmark = pytest.mark.faults

SIGNALS = int(os.environ.get("PRISM_TEST_KILLS", "8"))


def test_a_run_asked_to_end_at_random_moments_loses_nothing(tmp_path: Path) -> None:
    """One rank alone hears of it, or both; what the present batch has learnt is saved."""
    game, moments = Killed(tmp_path, "fsdp2", SIGNALS, seed=1), random.Random(1)
    # Three at most a start: one that is waited for, one in which the signal comes, and one if it comes between two.
    game.options["trainer__max_steps"] = str(3 * SIGNALS + 2)
    game.run_alone()
    folder = tmp_path / "killed"
    for number in range(SIGNALS):
        running = game.start("killed", number)
        before = game.done("killed")
        while game.done("killed") <= before:
            assert running.alive, running.told()
            time.sleep(0.02)
        time.sleep(moments.random() * game.update)
        running.signal(moments.choice([signal.SIGTERM, signal.SIGUSR1]), moments.choice([[0], [1], [0, 1]]))
        assert running.wait() == [75, 0], running.told()
        saved = newest_checkpoint(folder)
        assert saved is not None
        assert saved.name == f"step={game.done('killed')}.ckpt"
        print(f"signal {number + 1}: ended after update {game.done('killed')}", flush=True)
    game.start("killed", SIGNALS).finish()
    assert timeless(tmp_path / "whole") == timeless(folder)
    assert (tmp_path / "whole" / "samples.jsonl").read_bytes() == (folder / "samples.jsonl").read_bytes()


def test_a_second_run_on_two_processes_is_refused_on_both(tmp_path: Path) -> None:
    game = Killed(tmp_path, "fsdp2", 1, seed=2)
    first = game.start("killed")
    try:
        while game.done("killed") < 1:
            assert first.alive, first.told()
            time.sleep(0.02)
        second = Ranks(arguments(game.config, tmp_path / "killed", **game.options), tmp_path / "second.log", 2)
        assert second.wait() == [2, 2]
        assert second.log.read_text().count("run_dir: another process is at work in") == 2
        first.finish()
    finally:
        first.kill()
    assert (tmp_path / "killed" / "finished.json").exists()
