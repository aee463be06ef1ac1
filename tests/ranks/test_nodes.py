"""Two "nodes", torchruns on one machine, of two processes each: hybrid sharding, and a node that dies and comes back."""

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from prism_pl.runs.checkpoint import newest_checkpoint
from tests import launchers
from tests.command_line import finish
from tests.modules.aligning import arguments, assert_same_metrics, start
from tests.modules.small_stages import scripted, write
from tests.ranks.matrix import all_stages, write_cases
from tests.ranks.several_fits import main
from tests.ranks.test_matrix import check

pytestmark = pytest.mark.ranks
HYBRID = ["--trainer.strategy=fsdp2_hybrid", "--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.num_nodes=2"]


def test_hybrid_shards_learn_what_one_process_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All four stages: each node holds the whole network, in two shares."""
    cases = all_stages(tmp_path)
    cases["sft"]["data"]["init_args"]["batch_size"] = 12
    # Two updates a rollout batch: each rank needs two prompts.
    cases["rlvr"]["data"]["init_args"]["batch_size"] = 8
    write_cases(cases, tmp_path)
    program = ["-m", "tests.ranks.several_fits", str(tmp_path), json.dumps(HYBRID), "0", *(f"{n}:two/{n}" for n in cases)]
    launchers.agents([program, program], tmp_path / "log", per_node=2).finish()
    monkeypatch.setattr("sys.argv", ["", str(tmp_path), "[]", "0", *(f"{name}:one/{name}" for name in cases)])
    main()
    check(cases, tmp_path)


def test_a_node_that_is_killed_is_started_again_and_the_run_goes_on(tmp_path: Path) -> None:
    """torchrun's own restarts: all processes of both nodes start anew, and resume from the newest checkpoint."""
    config = write(scripted(), tmp_path / "align.yaml")
    finish(start(config, tmp_path / "one", data__batch_size="4"))
    shared = tmp_path / "shared"
    node = [*arguments(config, shared, data__batch_size="4"), "--trainer.num_nodes=2"]
    running = launchers.torchrun([node, node], tmp_path / "log", per_node=2, dynamic=True, restarts=2)
    end = time.monotonic() + 1800
    while newest_checkpoint(shared) is None:
        assert running.alive
        assert time.monotonic() < end
        time.sleep(0.05)
    workers = psutil.Process(running.started[1].pid).children()
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
    running.finish()
    assert any("Resuming from" in log.read_text() for log in running.logs)
    assert (shared / "finished.json").exists()
    assert_same_metrics(tmp_path / "one", shared)
