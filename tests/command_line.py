"""The command line: in the process of the test, or in one of its own, which can be killed."""

import os
import subprocess
import sys

import pytest

import callbacks
import datamodules  # noqa: F401 (imported so that class_path accepts short names)
import modules  # noqa: F401
from prism_pl.cli import main
from tests.ports import own_port


def run(*arguments: str, run_folder: type[callbacks.RunFolder] = callbacks.RunFolder) -> int:
    """``python -m prism_pl`` with these arguments, in this process; the exit code."""
    saved = sys.argv
    sys.argv = ["prism_pl", *arguments]
    try:
        main(always_on=[run_folder, callbacks.EndWhenAsked, callbacks.UpdateProgress], metrics_logger=callbacks.JsonlLogger)
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = saved
    return 0


def captured(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The same; exit code, output and errors."""
    code = run(*arguments)
    output = capsys.readouterr()
    return code, output.out, output.err


def own_environment() -> dict[str, str]:
    """The environment of a new run: without what a surrounding run, or a sharded one in this process, has set, and with a
    port of its own, which Lightning's launcher takes."""
    foreign = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "WANDB_SERVICE")
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return kept | {"OMP_NUM_THREADS": "1", "MASTER_PORT": str(own_port())}


def start(*arguments: str) -> "subprocess.Popen[str]":
    """The same in a process of its own, the leader of its group."""
    return subprocess.Popen(
        [sys.executable, "-m", "prism_pl", *arguments],
        env=own_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]") -> None:
    """Waits until a started command has ended well."""
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-3000:]
