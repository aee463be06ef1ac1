"""The append-only files of a run under kills and resumes."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_pl.errors import UserError
from prism_pl.runs.files import (
    FINISHED_MARK,
    LOGS,
    append_lines,
    cut_back,
    finish,
    keep_settings,
    lengths,
    only_process,
    read_lines,
    set_aside,
    stage_identity,
    take_run_dir,
    write_atomically,
)


def write_steps(file: Path, steps: list[int]) -> list[dict[str, int]]:
    lines = [{"step": step, "value": 10 * step} for step in steps]
    append_lines(file, [json.dumps(line) for line in lines])
    return lines


def test_lines_come_back(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "metrics.jsonl"
    assert read_lines(file) == []
    lines = write_steps(file, [1, 2]) + write_steps(file, [3])
    assert read_lines(file) == lines


@pytest.mark.parametrize("keep", [1, 5, 22])
def test_a_last_line_cut_by_a_kill_is_left_out(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "metrics.jsonl"
    lines = write_steps(file, [1, 2])
    cut = '{"step": 3, "value": 30}'[:keep]
    file.write_bytes(file.read_bytes() + cut.encode())
    assert read_lines(file) == lines
    # The next lines do not grow together with the rest of it.
    assert lines + write_steps(file, [4]) == read_lines(file)
    assert file.read_text().count("\n") == 3


def test_a_file_of_a_cut_line_alone(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "va')
    assert read_lines(file) == []
    assert write_steps(file, [1]) == read_lines(file)


def test_a_cut_inside_a_character(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    append_lines(file, [json.dumps({"step": 1, "text": "ä"}, ensure_ascii=False)])
    file.write_bytes(file.read_bytes() + '{"step": 2, "text": "ä'.encode()[:-1])
    assert read_lines(file) == [{"step": 1, "text": "ä"}]
    append_lines(file, ['{"step": 2}'])
    assert read_lines(file) == [{"step": 1, "text": "ä"}, {"step": 2}]


def test_no_lines_leave_the_file_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    lines = write_steps(file, [1])
    append_lines(file, [])
    assert read_lines(file) == lines


def test_durable_lines_are_appended_alike(tmp_path: Path) -> None:
    file = tmp_path / "tries.jsonl"
    append_lines(file, ['{"row": 0}'], durable=True)
    file.write_bytes(file.read_bytes() + b'{"row": 1')
    append_lines(file, ['{"row": 2}'], durable=True)
    assert file.read_bytes() == b'{"row": 0}\n{"row": 2}\n'


def test_settings_are_kept_and_others_refused(tmp_path: Path) -> None:
    file = tmp_path / "out" / "filter.json"
    keep_settings(file, {"model": "a", "seed": 0}, "pass rates")
    keep_settings(file, {"model": "a", "seed": 0}, "pass rates")
    with pytest.raises(UserError, match=r"out holds pass rates with seed 0, not 1. Give another folder"):
        keep_settings(file, {"model": "a", "seed": 1}, "pass rates")
    assert json.loads(file.read_text()) == {"model": "a", "seed": 0}


def test_a_folder_has_one_process_at_a_time(tmp_path: Path) -> None:
    refused = pytest.raises(UserError, match=r"another process is at work in .*out")
    with only_process(tmp_path / "out"), refused, only_process(tmp_path / "out"):
        pass
    with only_process(tmp_path / "out"):
        pass


def test_the_logs_are_cut_to_what_a_checkpoint_remembers(tmp_path: Path) -> None:
    """Also where steps do not tell: the batch after the checkpoint has left its update out."""
    write_steps(tmp_path / "metrics.jsonl", [0, 1, 1])
    kept = lengths(tmp_path)
    assert list(kept) == ["metrics.jsonl"]
    before = (tmp_path / "metrics.jsonl").read_bytes()
    for name in LOGS:
        write_steps(tmp_path / name, [1, 2])
        with (tmp_path / name).open("ab") as file:
            file.write(b'{"step": 4')
    (tmp_path / "pairs.jsonl").write_text("not of the updates")
    cut_back(tmp_path, kept)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert [(tmp_path / name).read_bytes() for name in LOGS[1:]] == [b"", b""]
    # A file that has become shorter, on another disk say, is left as it is.
    cut_back(tmp_path, {"metrics.jsonl": 1000})
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    # A run that did not come to its first checkpoint begins anew.
    cut_back(tmp_path, {})
    assert lengths(tmp_path) == dict.fromkeys(LOGS, 0)
    assert (tmp_path / "pairs.jsonl").read_text() == "not of the updates"


@given(texts=st.lists(st.text(), max_size=5), step=st.integers(0, 5))
def test_any_text_survives_append_and_cut(tmp_path_factory: pytest.TempPathFactory, texts: list[str], step: int) -> None:
    """Also line separators beyond the newline, which a line-based reader could split at."""
    lines = [{"step": index, "text": text} for index, text in enumerate(texts)]
    for ensure_ascii in (True, False):
        file = tmp_path_factory.mktemp("run") / "samples.jsonl"
        append_lines(file, [json.dumps(line, ensure_ascii=ensure_ascii) for line in lines])
        assert read_lines(file) == lines
        folder = tmp_path_factory.mktemp("run")
        append_lines(folder / "samples.jsonl", [json.dumps(line, ensure_ascii=ensure_ascii) for line in lines[:step]])
        cut_back(file.parent, lengths(folder))
        assert read_lines(file) == lines[:step]


def test_finish_marks_a_run_with_an_identity_of_its_own(tmp_path: Path) -> None:
    assert stage_identity(tmp_path) is None
    finish(tmp_path, 7, "abc")
    first = stage_identity(tmp_path)
    mark = json.loads((tmp_path / FINISHED_MARK).read_text())
    assert (mark["updates"], mark["commit"], mark["identity"]) == (7, "abc", first)
    assert mark["versions"]["python"] == platform.python_version()
    assert mark["versions"]["torch"] == version("torch")
    finish(tmp_path, 7, "abc")
    assert stage_identity(tmp_path) not in (None, first)
    assert [path.name for path in tmp_path.iterdir()] == [FINISHED_MARK]


def test_only_a_finished_run_is_set_aside(tmp_path: Path) -> None:
    run = tmp_path / "sft"

    def take() -> None:
        with ExitStack() as held:
            take_run_dir(run, held)

    take()
    write_steps(run / "metrics.jsonl", [1])
    take()
    assert read_lines(run / "metrics.jsonl") == [{"step": 1, "value": 10}]
    finish(run, 1, None)
    take()
    assert [path.name for path in run.iterdir()] == [".lock"]
    assert read_lines(tmp_path / "sft.1" / "metrics.jsonl") == [{"step": 1, "value": 10}]
    assert set_aside(run) == tmp_path / "sft.2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sft.1", "sft.2"]


def test_a_run_that_is_about_to_end_is_not_set_aside_by_another(tmp_path: Path) -> None:
    """It has written ``finished.json`` and is removing its checkpoints."""
    run = tmp_path / "sft"
    with ExitStack() as held, ExitStack() as others:
        take_run_dir(run, held)
        finish(run, 1, None)
        with pytest.raises(UserError, match=r"run_dir: another process is at work in .*sft"):
            take_run_dir(run, others)
        assert [path.name for path in tmp_path.iterdir()] == ["sft"]


HOLDER = """
import os, sys, time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from prism_pl.runs.files import take_run_dir
held = ExitStack()
take_run_dir(Path(sys.argv[1]), held)
if os.fork() == 0:
    time.sleep(60)  # a worker that reads rows, and outlives its parent for a while
    os._exit(0)
print("held", flush=True)
time.sleep(60)
"""


def test_the_lock_of_a_killed_run_is_free_though_its_workers_live(tmp_path: Path) -> None:
    run = tmp_path / "run"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(run)], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with ExitStack() as held, pytest.raises(UserError, match="another process is at work"):
            take_run_dir(run, held)
        (worker,) = psutil.Process(holder.pid).children()
        holder.kill()
        holder.wait()
        assert worker.is_running()
        # On a busy machine the worker may not have come to the line yet that lets the lock go.
        end = time.monotonic() + 60
        while True:
            try:
                with ExitStack() as held:
                    take_run_dir(run, held)
                break
            except UserError:
                assert time.monotonic() < end
                time.sleep(0.1)
        assert worker.is_running()
    finally:
        os.killpg(holder.pid, signal.SIGKILL)


def test_a_full_disk_is_named_with_its_file_and_the_room_there(tmp_path: Path) -> None:
    """``/dev/full`` is a device that has no room."""
    file = tmp_path / "metrics.jsonl"
    file.symlink_to("/dev/full")
    told = r"metrics.jsonl could not be written \(.*No space left on device.*; [\d,]+ MiB are free there\)\. .* Make room"
    with pytest.raises(UserError, match=told):
        append_lines(file, ["{}"])
    (tmp_path / ".run.json").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"run.json could not be written \(.*No space left on device"):
        write_atomically(tmp_path / "run.json", "{}")
