"""Starts a ``vllm serve`` process on this machine and ends it."""

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import httpx2

from prism_pl.vllm_server.options import ServerOptions, program

_GUARD = Path(__file__).with_name("guard.py")
_HOST = "127.0.0.1"
# Below 32768, where Linux starts to give out ports itself to whoever opens a connection meanwhile.
_PORTS = range(20000, 32000)
_POLL_SECONDS = 0.25
_ANSWER_SECONDS = 10.0
_PATIENCE = 20.0
"""Seconds that the guard has, which gives the server ten."""
_LAST_LINES = 12
_TAIL = 16384
_NOT_FOR_IT = (
    # It would take itself for a rank of this process's run.
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"),
    # For an engine in this process.
    "VLLM_ENABLE_V1_MULTIPROCESSING",
)
_PORT_IS_TAKEN = "Address already in use"


class ServerEndedError(RuntimeError):
    """The process has ended, or never answered. The message holds the last lines of its log and where that is."""


class VLLMServer:
    """The process. A context manager, which starts it, waits until it answers, and ends it.

    It ends with this process, whatever ends that, and leaves no process behind.

    Args:
        model: the folder, or a name on the hub.
        max_model_len: tokens of prompt and response together.
        options: how it computes.
        log: the file that its output is appended to.
        name: in messages.
        devices: numbers of the GPUs that it sees; None hides none of them.
        arguments: further ones of ``vllm serve``.
        variables: further ones of its environment.
    """

    def __init__(
        self,
        model: str,
        max_model_len: int,
        options: ServerOptions,
        log: Path,
        name: str = "The vLLM server",
        devices: list[int] | None = None,
        arguments: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.log, self.name = log, name
        self._options = options
        self._arguments = [*options.arguments(model, max_model_len), *arguments]
        self._variables = options.variables(devices) | dict(variables or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._begin = 0
        """Of its last start, in the log."""
        self.url = ""
        """Up to the port, without a slash at the end; ``/v1`` behind it is the OpenAI-compatible part."""

    def __enter__(self) -> "VLLMServer":
        self.start()
        try:
            self.wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Begins to start it; ``wait`` waits until it answers."""
        assert self._process is None, "the server was started before"
        self._deadline = time.monotonic() + self._options.start_limit
        self._launch()

    def wait(self) -> None:
        """Until it answers. Raises ServerEndedError if it ends before, or does not answer in time."""
        with httpx2.Client(trust_env=False, timeout=_ANSWER_SECONDS) as client:
            while not self._answers(client):
                assert self._process is not None
                if (code := self._process.poll()) is not None:
                    if _PORT_IS_TAKEN in self._tail():
                        # Somebody was quicker.
                        self._launch()
                        continue
                    raise ServerEndedError(f"{self.name} ended with code {code} before it answered.{self.last_words()}")
                if time.monotonic() > self._deadline:
                    self.close()
                    raise ServerEndedError(
                        f"{self.name} did not answer within {self._options.start_limit:g} seconds.{self.last_words()}"
                    )
                time.sleep(_POLL_SECONDS)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def last_words(self) -> str:
        """Its exit code and the last lines of its log, as sentences with a blank before them."""
        lines = [line.strip() for line in self._tail().splitlines() if line.strip()][-_LAST_LINES:]
        last = f' Its last words: "{" / ".join(lines)}".' if lines else ""
        return f"{last} Its log: {self.log}."

    def close(self) -> None:
        """Ends it and waits until all of its processes are gone."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _launch(self) -> None:
        port = _free_port()
        self.url = f"http://{_HOST}:{port}"
        command = [*program(), *self._arguments, "--host", _HOST, "--port", str(port)]
        inherited = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_IT}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            output.write(f"$ {' '.join(command)}\n".encode())
            output.flush()
            self._begin = output.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_GUARD), str(os.getpid()), *command],
                env=inherited | self._variables, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def _answers(self, client: httpx2.Client) -> bool:
        try:
            return client.get(f"{self.url}/health").status_code == 200
        except httpx2.HTTPError:
            return False

    def _tail(self) -> str:
        with self.log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self._begin, end - _TAIL))
            return file.read().decode(errors="replace")


def _free_port() -> int:
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        with socket.socket() as listener, suppress(OSError):
            listener.bind((_HOST, port))
            return port
    raise OSError("all ports are taken")
