"""No process of a server outlives who started it, whatever ends which of them. The server is a tree of plain processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from prism_pl.vllm_server import guard

# A server, which starts an engine; both write down who they are. The engine hears no SIGTERM, as one that computes.
_ENGINE = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('engine', 'w').close(); time.sleep(600)"
_SERVER = f"""
import os, signal, subprocess, sys, time
engine = subprocess.Popen([sys.executable, "-c", {_ENGINE!r}])
if sys.argv[1:] == ["deaf"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while not os.path.exists("engine"):
    time.sleep(0.01)
open("pids.new", "w").write(f"{{os.getpid()}} {{engine.pid}}")
os.rename("pids.new", "pids")
time.sleep(600)
"""
_ASKER = f"""
import os, subprocess, sys, time
guard = subprocess.Popen([sys.executable, "-I", {guard.__file__!r}, str(os.getpid()), sys.executable, "-c", {_SERVER!r}])
open("guard", "w").write(str(guard.pid))
time.sleep(600)
"""


def started(folder: Path) -> list[psutil.Process]:
    """Server and engine, once both run."""
    deadline = time.monotonic() + 60
    while not (folder / "pids").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [psutil.Process(int(pid)) for pid in (folder / "pids").read_text().split()]


def guarded(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", guard.__file__, str(os.getpid()), sys.executable, "-c", _SERVER, *arguments]
    return subprocess.Popen(command, cwd=folder)


def ended(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=60)[1]


def test_a_kill_of_who_started_it_ends_all(tmp_path: Path) -> None:
    asker = subprocess.Popen([sys.executable, "-c", _ASKER], cwd=tmp_path)
    processes = [*started(tmp_path), psutil.Process(int((tmp_path / "guard").read_text()))]
    asker.kill()
    asker.wait()
    assert ended(processes)


def test_what_a_dead_server_leaves_is_ended(tmp_path: Path) -> None:
    guard_process = guarded(tmp_path)
    server, engine = started(tmp_path)
    server.kill()
    assert guard_process.wait(60) == 128 + signal.SIGKILL
    assert ended([server, engine])


def test_a_server_ends_with_its_guard(tmp_path: Path) -> None:
    """The engine of vLLM ends with its server (test_server.py); this one does not know how."""
    guard_process = guarded(tmp_path)
    server, engine = started(tmp_path)
    guard_process.kill()
    guard_process.wait()
    assert ended([server])
    engine.kill()


@pytest.mark.parametrize(("arguments", "ends_by"), [((), signal.SIGTERM), (("deaf",), signal.SIGKILL)])
def test_told_to_end_it_ends_all(tmp_path: Path, arguments: tuple[str, ...], ends_by: signal.Signals) -> None:
    """One that does not hear has ten seconds. What a terminal sends to all is not for it."""
    guard_process = guarded(tmp_path, *arguments)
    processes = started(tmp_path)
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        guard_process.send_signal(ignored)
    time.sleep(0.2)
    assert guard_process.poll() is None
    begin = time.monotonic()
    guard_process.terminate()
    assert guard_process.wait(60) == 128 + ends_by
    assert ended(processes)
    assert (time.monotonic() - begin > 9) == (ends_by is signal.SIGKILL)


def test_its_exit_code_is_the_servers(tmp_path: Path) -> None:
    command = [sys.executable, "-I", guard.__file__, str(os.getpid()), sys.executable, "-c", "raise SystemExit(7)"]
    assert subprocess.run(command, check=False, timeout=60).returncode == 7
