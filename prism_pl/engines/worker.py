"""An engine in a process of its own, which does one after the other what it is asked, and what becomes of it."""

import atexit
import faulthandler
import itertools
import math
import multiprocessing
import os
import pickle
import queue
import signal
import socket
import struct
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch

from prism_pl.engines.base import RolloutEngine, Sampled, stamped
from prism_pl.engines.shared_weights import Place, read
from prism_pl.environment import variables
from prism_pl.errors import UserError
from prism_pl.types import Prompt, SamplingOptions

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_LAST_LINES = 12
_PATIENCE = 10.0
"""Seconds in which a process that is told to end has to."""

Reply = tuple[Exception | None, Any]
"""What a method raised, or returned."""


class EngineEndedError(RuntimeError):
    """The process has ended, or is of no use any more and was ended. The message holds its last words."""


class Worker:
    """The process. What is sent is done in order; each gets one reply, in the same order.

    Args:
        engine: goes to the process by pickle.
        name: in messages.
        threads: that it computes with.
        device: number of the GPU that it sees, among those that this process sees; None hides none of them.
        time_limit: seconds without a reply after which it counts as lost; None waits for ever.
    """

    def __init__(
        self, engine: RolloutEngine, name: str, threads: int, device: int | None, time_limit: float | None = None
    ) -> None:
        # "spawn": CUDA does not survive a fork, and a device is chosen before CUDA is.
        context = multiprocessing.get_context("spawn")
        self._connection, there = context.Pipe()
        said, saying = context.Pipe(duplex=False)
        self.process = context.Process(target=_serve, args=(engine, there, saying, threads), daemon=True)
        with variables(environment(threads, device)):
            self.process.start()
        there.close()
        saying.close()
        self._name, self._time_limit = name, time_limit
        self._sent = self._received = 0
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._listener = threading.Thread(target=self._listen, args=(said,), name="engine's errors", daemon=True)
        self._listener.start()
        if time_limit is not None:
            # A process that is stopped takes nothing: a full pipe would be waited for.
            with socket.socket(fileno=os.dup(self._connection.fileno())) as own:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", math.ceil(time_limit), 0))
        # It ignores the signal by which multiprocessing ends those that are left over, and would then wait for it.
        atexit.register(self.process.kill)

    def send(self, method: str, *arguments: Any) -> None:
        """Asks for a call of a method of ``_Host``. Raises EngineEndedError."""
        data = _Pickler.dumps((method, arguments))
        try:
            self._connection.send_bytes(data)
        except OSError:
            raise self._ended() from None
        self._sent += 1

    def receive(self) -> Reply:
        """The next reply. Raises EngineEndedError."""
        if not wait([self._connection, self.process.sentinel], self._time_limit):
            raise self._ended(f"has not answered for {self._time_limit:g} seconds")
        try:
            # Not the end of the pipe alone: other children of this process may have inherited it.
            if not self._connection.poll():
                raise EOFError
            data = self._connection.recv_bytes()
        except (EOFError, OSError):
            raise self._ended() from None
        try:
            number, error, value = pickle.loads(data)
        except Exception as unreadable:
            raise self._ended(f"has answered what cannot be read ({unreadable!r})") from unreadable
        if number != self._received:
            raise self._ended(f"has given answer {number} to question {self._received}")
        self._received += 1
        return error, value

    def call(self, method: str, *arguments: Any) -> Any:
        """Asks and waits, where nothing else is waited for. Raises what the method raises, or EngineEndedError."""
        self.send(method, *arguments)
        error, value = self.receive()
        if error is not None:
            raise error
        return value

    def end(self, patience: float = 0.0) -> None:
        """Ends the process: by itself within ``patience`` seconds, or by a kill."""
        self._connection.close()
        self.process.join(patience)
        self.process.kill()
        self.process.join()
        atexit.unregister(self.process.kill)

    def close(self) -> None:
        """Lets the engine free what it holds after all that it was asked, and ends the process."""
        try:
            self.send("close")
            while self._received < self._sent:
                self.receive()
        except EngineEndedError:
            return
        self.end(_PATIENCE)

    def _ended(self, why: str | None = None) -> EngineEndedError:
        """Makes sure of it."""
        # By itself: its exit code tells of what.
        self.end(0.0 if why else _PATIENCE)
        self._listener.join(_PATIENCE)
        last = f' Its last words: "{" / ".join(self._last_lines)}".' if self._last_lines else ""
        return EngineEndedError(f"{self._name} {why or f'ended with code {self.process.exitcode}'}.{last}")

    def _listen(self, said: Connection) -> None:
        """Passes on what the process writes to its standard error, and keeps the end of it."""
        rest = ""
        while data := os.read(said.fileno(), 65536):
            with suppress(OSError):
                os.write(2, data)
            *lines, rest = (rest + data.decode(errors="replace")).split("\n")
            self._last_lines.extend(line.strip() for line in lines if line.strip())
        said.close()


class _Pickler(ForkingPickler):
    """Tensors by value, and of a view its own numbers alone: torch would hand over all of the memory that it looks at, by a
    file descriptor each, and a call has hundreds."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return torch.from_numpy, (value.numpy(),)
        return NotImplemented


class _Host:
    """In the process: what can be asked for."""

    def __init__(self, engine: RolloutEngine) -> None:
        self._engine = engine
        self._blocks: Sequence[torch.Tensor] = ()

    def start(self, model: str, max_prompt_tokens: int, sampling: SamplingOptions) -> torch.dtype:
        """Returns the engine's precision."""
        self._engine.start(model, max_prompt_tokens, sampling)
        return self._engine.precision

    def sample(self, prompts: Sequence[Prompt], seeds: Sequence[int], samplings: Sequence[SamplingOptions]) -> Sampled:
        begin = time.perf_counter()
        groups = self._engine.generate_each(prompts, seeds, samplings)
        return Sampled(stamped(groups, self._engine.version), time.perf_counter() - begin)

    def attach(self, blocks: Sequence[torch.Tensor]) -> None:
        """The memory that weights come in."""
        self._blocks = blocks

    def take(self, places: Sequence[Place], version: int) -> None:
        """The weights that are in it. With the reply they may be written over."""
        self._engine.take(read(self._blocks, places), version)
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def sleep(self) -> None:
        self._engine.sleep()

    def close(self) -> None:
        self._engine.close()


def _serve(engine: RolloutEngine, connection: Connection, saying: Connection, threads: int) -> None:
    """In the process: does what it is asked until the asker is gone."""
    os.dup2(saying.fileno(), 2)
    saying.close()
    faulthandler.enable()
    # They reach all processes of a terminal or a job. The asker ends when it has saved, and takes its engine along.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(ignored, signal.SIG_IGN)
    # An engine that looks for the launcher's variables would take itself for one of the asker's ranks.
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)
    torch.set_num_threads(threads)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(connection, requests), name="requests", daemon=True).start()
    host = _Host(engine)
    for number in itertools.count():
        method, data = None, requests.get()
        try:
            method, arguments = pickle.loads(data)
            reply = pickle.dumps((number, None, getattr(host, method)(*arguments)))
        except Exception as error:
            reply = pickle.dumps((number, _portable(error), None))
        connection.send_bytes(reply)
        if method == "close":
            # Not when the pipe ends: other children of the asker may have inherited its end of it.
            return


def _read(connection: Connection, requests: "queue.SimpleQueue[bytes]") -> None:
    """Takes requests as they come, so that the asker never waits for room in the pipe while its own replies fill the other
    way; and ends the process, whatever it does, when the asker is gone."""
    try:
        while True:
            requests.put(connection.recv_bytes())
    except (EOFError, OSError):
        os._exit(0)


def _portable(error: Exception) -> Exception:
    """The error as it can be raised in the other process, with where it came from."""
    if not isinstance(error, UserError):
        error.add_note("In the engine's process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def environment(threads: int, device: int | None) -> dict[str, str]:
    """Variables of the process: its threads, and one GPU of those that this process sees."""
    own = {"OMP_NUM_THREADS": str(threads)}
    if device is not None:
        visible = os.environ.get(_VISIBLE)
        own[_VISIBLE] = visible.split(",")[device] if visible else str(device)
    return own
