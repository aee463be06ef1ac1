"""A real ``vllm serve`` on the embedded model: it starts, answers, and leaves nothing behind."""

import importlib.util
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import psutil
import pytest

from prism_pl.embedded import embedded_folder
from prism_pl.errors import UserError
from prism_pl.vllm_server import ServerEndedError, ServerOptions, VLLMServer, check_installed
from tests.command_line import own_environment

_ASKER = """
import os, sys, time
from pathlib import Path
from prism_pl.vllm_server import ServerOptions, VLLMServer
options = ServerOptions(dtype="float32", enforce_eager=True, max_num_seqs=16, threads=1)
with VLLMServer(sys.argv[1], 64, options, Path(sys.argv[2], "log")) as running:
    Path(sys.argv[2], "new").write_text(running.url)
    os.rename(Path(sys.argv[2], "new"), Path(sys.argv[2], "url"))
    time.sleep(600)
"""


@pytest.fixture
def model(embedded: Path) -> str:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    return str(embedded_folder() / "model")


def test_a_missing_vllm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"serve: vllm is not installed.*\.\[vllm\]"):
        check_installed("serve")


@pytest.mark.faults
def test_a_kill_of_who_started_it_leaves_no_process(model: str, tmp_path: Path) -> None:
    """It is another process that starts it, so that this one can kill that."""
    asker = subprocess.Popen([sys.executable, "-c", _ASKER, model, str(tmp_path)], env=own_environment())
    try:
        deadline = time.monotonic() + 600
        while not (tmp_path / "url").exists():
            assert asker.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        url = (tmp_path / "url").read_text()
        body = {"model": model, "prompt": [1, 2, 3], "max_tokens": 4, "ignore_eos": True}
        answer = httpx2.post(f"{url}/v1/completions", json=body, timeout=120)
        assert answer.status_code == 200
        assert answer.json()["usage"]["completion_tokens"] == 4
        processes = psutil.Process(asker.pid).children(recursive=True)
        # Guard and server at least; vLLM has its engine in further ones.
        assert len(processes) > 2
    finally:
        asker.send_signal(signal.SIGKILL)
        asker.wait()
    assert not psutil.wait_procs(processes, timeout=60)[1]


def test_one_that_cannot_start_says_why(model: str, tmp_path: Path) -> None:
    log = tmp_path / "new" / "server.log"
    log.parent.mkdir()
    log.write_text("of an earlier start\n")
    begin = r"^The vLLM server ended with code 2 before it answered\. Its last words: "
    with (
        pytest.raises(ServerEndedError, match=begin + ".*invalid choice: 'float31'.* Its log: ") as caught,
        VLLMServer(model, 64, ServerOptions(dtype="float31"), log),
    ):
        pass
    assert "earlier" not in str(caught.value)
    assert log.read_text().startswith("of an earlier start\n$ ")


def test_one_that_does_not_answer_in_time_is_ended(model: str, tmp_path: Path) -> None:
    server = VLLMServer(model, 64, ServerOptions(start_limit=0.5), tmp_path / "log", name="Server 3")
    before = set(psutil.Process().children())
    server.start()
    (guard,) = set(psutil.Process().children()) - before
    with pytest.raises(ServerEndedError, match=r"^Server 3 did not answer within 0.5 seconds\. Its log: "):
        server.wait()
    assert not server.is_running
    assert not guard.is_running()
    server.close()
