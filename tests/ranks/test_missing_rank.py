"""A rank that stays away: the others end, and say which one, where it was last seen and for how long they have waited."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prism_pl import heartbeat
from prism_pl.heartbeat import Heartbeat
from tests import launchers
from tests.modules.aligning import arguments, metrics
from tests.modules.small_stages import scripted, write

LIMIT = 40


@pytest.mark.ranks
def test_a_rank_stopped_in_a_rollout_is_named_with_its_phase(tmp_path: Path) -> None:
    content = scripted(engine={"class_path": "tests.ranks.stopping.StoppedEngine"})
    content["trainer"]["strategy"] = {"class_path": "modules.FSDP2Strategy", "init_args": {"time_limit": LIMIT}}
    config = write(content, tmp_path / "align.yaml")
    run = launchers.slurm(arguments(config, tmp_path / "run"), tmp_path / "slurm", sharded=["--trainer.accelerator=cpu"])
    try:
        code = run.started[0].wait(600)
    finally:
        run.kill()
    said = run.logs[0].read_text()
    # The process group's own limit, which counts from the start of a collective, may come first: then torch's error has it.
    assert code in (1, heartbeat.MISSING_EXIT), said[-3000:]
    found = re.search(r"Rank 1 is missing: it was last seen in the phase 'rollout', (\d+) seconds ago\.", said)
    assert found, said[-3000:]
    assert int(found[1]) >= LIMIT / 2
    assert sorted(metrics(tmp_path / "run")) == [1]


WAITING = """
import os, signal, sys, time
from pathlib import Path
from prism_pl.heartbeat import Heartbeat, enter
rank = int(sys.argv[2])
Heartbeat(Path(sys.argv[1]), rank, 2, 3.0, lambda: print("last act", flush=True)).start()
enter("rollout" if rank else "step")
time.sleep(1)
if rank:
    os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(60)
"""


def test_a_process_that_waits_for_a_stopped_one_is_ended_by_its_heartbeat(tmp_path: Path) -> None:
    """In nothing that has a limit of its own, as a collective of NCCL may be."""
    waiting, stopped = (
        subprocess.Popen([sys.executable, "-c", WAITING, str(tmp_path), str(rank)], stdout=-1, stderr=-1, text=True)
        for rank in range(2)
    )
    output, errors = waiting.communicate(timeout=60)
    stopped.kill()
    stopped.wait()
    assert waiting.returncode == heartbeat.MISSING_EXIT
    assert output == "last act\n"
    assert re.search(
        r"error: Rank 1 is missing: it was last seen in the phase 'rollout', [3-9] seconds ago\. Rank 0 waited in the "
        r"phase 'step' and ends now, after the strategy's time_limit of 3 seconds\.",
        errors,
    ), errors


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    return now


def sign(folder: Path, rank: int, phase: str, time: float) -> None:
    (folder / f"rank{rank}.json").write_text(json.dumps({"phase": phase, "time": time}))


def test_only_ranks_without_a_new_sign_are_missing(tmp_path: Path, clock: list[float]) -> None:
    own = Heartbeat(tmp_path, 0, 4, 100.0)
    for rank in (1, 2):
        sign(tmp_path, rank, "score", 1)
    sign(tmp_path, 3, "done", 1)  # has ended well; the file of rank 0 is its own
    assert own.missing() == ""
    clock[0] = 90
    sign(tmp_path, 2, "sync", 2)
    assert own.missing() == ""
    clock[0] = 101
    assert own.missing() == "Rank 1 is missing: it was last seen in the phase 'score', 101 seconds ago."
    clock[0] = 191
    assert "Rank 2 is missing: it was last seen in the phase 'sync', 101 seconds ago." in own.missing()
    # After an error a shorter silence tells: three pauses of ten seconds.
    clock[0] = 200
    sign(tmp_path, 1, "score", 3)
    assert "Rank 2 is missing" in own.explain()
    assert "rank 1 in 'score', seen 0 seconds ago" in own.explain()


def test_a_disk_that_is_full_for_a_while_does_not_end_the_signs(tmp_path: Path) -> None:
    """A rank without signs would be missed by the others."""
    own = Heartbeat(tmp_path, 0, 2, 1.0)
    (tmp_path / "rank0.partial").symlink_to("/dev/full")
    own.start()
    heartbeat.enter("rollout")
    time.sleep(0.5)  # several signs
    assert not (tmp_path / "rank0.json").exists()
    (tmp_path / "rank0.partial").unlink()
    end = time.monotonic() + 60
    while not (tmp_path / "rank0.json").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    own.stop()


def test_the_sign_tells_the_phase_and_the_end(tmp_path: Path) -> None:
    own = Heartbeat(tmp_path, 2, 4, 1000.0)
    with heartbeat.within("rollout"):
        own.start()
        assert json.loads((tmp_path / "rank2.json").read_text())["phase"] == "rollout"
        with heartbeat.within("sync"):
            # At once, not with the next sign.
            assert json.loads((tmp_path / "rank2.json").read_text())["phase"] == "sync"
        assert json.loads((tmp_path / "rank2.json").read_text())["phase"] == "rollout"
    own.stop()
    assert json.loads((tmp_path / "rank2.json").read_text())["phase"] == "done"
