"""kill -9 at random moments: nothing paid for is lost, nothing is asked twice but what was in flight."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from prism_pl.curation import curate
from prism_pl.data.files import DataFile, DataSource
from prism_pl.endpoint import EndpointOptions
from prism_pl.runs.files import read_lines

CONCURRENCY = 3
KILLS = 3
# A fresh process each time, forked from one that has imported everything.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["prism_pl.curation"])
SCRIPT = {
    (0, 0): ["wrong"], (0, 1): ["500", "verified"], (2, 0): ["malformed"], (2, 1): ["wrong"], (2, 2): ["null"],
    (5, 0): ["cut", "wrong"], (7, 0): ["html", "verified"], (9, 0): ["wrong"], (9, 1): ["hang up", "empty"],
}  # fmt: skip
NUM_TRIES = 12 + 1 + 2 + 1 + 2
"""A first try a row; one more for row 0, two for row 2, one for row 5, two for row 9."""


def start(data_file: Path, out: Path, url: str) -> Any:
    endpoint = EndpointOptions(
        base_url=url, model="teacher", api_key_env="NO_SUCH_KEY", concurrency=CONCURRENCY, first_wait_s=0.001
    )
    source = DataSource(path=str(data_file), image_root="/")
    process = _CONTEXT.Process(target=curate, args=(source, str(out), endpoint), kwargs={"tries": 3})
    process.start()
    return process


def finish(data_file: Path, out: Path, url: str) -> None:
    process = start(data_file, out, url)
    process.join()
    assert process.exitcode == 0


def table(out: Path) -> list[dict[str, Any]]:
    return DataFile.open(str(out / "curated.parquet"), "path").table.to_list()


def tries(out: Path) -> dict[tuple[int, int], str]:
    lines = read_lines(out / "tries.jsonl")
    by_try = {(line["row"], line["try"]): json.dumps(line) for line in lines}
    assert len(by_try) == len(lines), "a try is on disk twice"
    return by_try


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments_it_ends_as_if_nothing_had_happened(
    seed: int, data_file: Path, tmp_path: Path, server: Any
) -> None:
    server.script, server.delay_s = dict(SCRIPT), 0.05
    finish(data_file, tmp_path / "whole", server.url)
    uninterrupted = len(server.seen)
    # A request a try, and one for each of 4 faults.
    assert uninterrupted == NUM_TRIES + 4
    server.seen.clear()
    out, rng = tmp_path / "killed", random.Random(seed)
    for _ in range(KILLS):
        asked, before = len(server.seen), tries(out)
        moment = asked + rng.randint(1, 4)
        process = start(data_file, out, server.url)
        while len(server.seen) < moment:
            assert process.is_alive()
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.04))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        on_disk = tries(out)
        assert before.items() <= on_disk.items()
        assert not set(server.seen[asked:]) & before.keys(), "asked again although its answer is on disk"
        # All that was ever asked is on disk, but for what was in flight.
        assert len(set(server.seen) - on_disk.keys()) <= CONCURRENCY
    # And one about the time when the table is written.
    asked, before = len(server.seen), tries(out)
    process = start(data_file, out, server.url)
    while process.is_alive() and len(tries(out)) < NUM_TRIES:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.1))
    process.kill()
    process.join()
    finish(data_file, out, server.url)
    assert not set(server.seen[asked:]) & before.keys()
    assert tries(out) == tries(tmp_path / "whole")
    assert table(out) == table(tmp_path / "whole")
    assert len(table(out)) == 11
    assert uninterrupted <= len(server.seen) <= uninterrupted + KILLS * CONCURRENCY
    # A rerun of what is whole asks for nothing.
    asked = len(server.seen)
    finish(data_file, out, server.url)
    assert len(server.seen) == asked
