"""Servers that share out prompts by load: whoever has the fewest open ones gets the next. One that is lost is left out."""

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from prism_pl.engines.server_client import Question, ServerClient, ServerLostError, Tokens

_log = logging.getLogger(__name__)
_MOST_SERVERS = 3
"""That may be lost over one prompt: it, and not they, is what is wrong then."""
_Value = TypeVar("_Value")


@dataclass
class Server:
    """One of them, as this process sees it."""

    client: ServerClient
    last_words: Callable[[], str]
    """Of its log, as sentences with a blank before them; nothing for one that somebody else has started."""
    usable: bool = False
    """It has the newest weights, and answers."""
    open: int = 0
    """Prompts that it is asked about now."""
    asked: int = 0
    """Prompts that it was ever asked about."""


@dataclass(frozen=True)
class Answers:
    """To all questions, in their order."""

    tokens: list[list[Tokens]]
    seconds: float


class NoServerLeftError(RuntimeError):
    """The message says what became of them, and what can be done."""


class ServerPool:
    """Asks from a thread of its own.

    Args:
        concurrency: prompts that a server is asked about at once.
    """

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self.servers: list[Server] = []
        self.label = ""
        """Of the weights that must answer."""
        self._why: dict[str, str] = {}
        """What became of those that this process has lost, by name."""
        self._pending: list[concurrent.futures.Future[Answers]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vLLM servers", daemon=True)
        self._thread.start()

    @property
    def usable(self) -> list[Server]:
        return [server for server in self.servers if server.usable]

    def replace(self, servers: list[Server]) -> None:
        """By these, while nothing is open."""
        kept = {id(server.client) for server in servers}
        for server in self.servers:
            if id(server.client) not in kept:
                self.run(server.client.close()).result()
        self.servers = servers

    def ask(self, questions: Sequence[Question]) -> "concurrent.futures.Future[Answers]":
        """Begins to. The future raises NoServerLeftError when the last one is lost, UserError for a mistake in a prompt."""
        self._pending = [future for future in self._pending if not future.done()]
        future = asyncio.run_coroutine_threadsafe(self._ask(questions), self._loop)
        self._pending.append(future)
        return future

    def wait(self) -> None:
        """Until nothing is open any more."""
        concurrent.futures.wait(self._pending)

    def run(self, coroutine: Coroutine[Any, Any, _Value]) -> "concurrent.futures.Future[_Value]":
        """In the thread that the clients live in."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def leave_out(self, server: Server, why: object) -> None:
        """With one warning."""
        if server.usable:
            _log.warning(
                "%s %s It is left out, and what it was asked is asked elsewhere.%s",
                server.client.name, why, server.last_words(),
            )  # fmt: skip
        server.usable = False
        self._why[server.client.name] = str(why)

    def close(self) -> None:
        for future in self._pending:
            future.cancel()
        for server in self.servers:
            self.run(server.client.close()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def none_left(self, over: str = "") -> NoServerLeftError:
        """The error. ``over`` says what it happened over."""
        names = [server.client.name for server in self.servers if not server.usable]
        why = " ".join(f"{name} {self._why.get(name, 'was lost by another rank.')}" for name in names)
        return NoServerLeftError(
            f"{over or 'No vLLM server is left to ask.'} {why} Start those again that this run has not started itself; the "
            f"same command goes on from the newest checkpoint."
        )

    async def _ask(self, questions: Sequence[Question]) -> Answers:
        begin = time.perf_counter()
        waiting = deque(range(len(questions)))
        tokens: list[list[Tokens]] = [[] for _ in questions]
        lost = [0] * len(questions)
        running: dict[asyncio.Task[list[Tokens]], tuple[Server, int]] = {}
        try:
            while waiting or running:
                while waiting and (server := self._next(bool(running))):
                    index = waiting.popleft()
                    server.open += 1
                    server.asked += 1
                    running[asyncio.create_task(server.client.answer(questions[index], self.label))] = server, index
                if not running:
                    raise self.none_left()
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    server, index = running.pop(task)
                    server.open -= 1
                    try:
                        tokens[index] = task.result()
                    except ServerLostError as why:
                        self.leave_out(server, why)
                        lost[index] += 1
                        waiting.appendleft(index)
                        if lost[index] == _MOST_SERVERS:
                            source = questions[index].prompt.source
                            raise self.none_left(f"{source}: {lost[index]} servers were lost over it.") from None
        finally:
            for task, (server, _) in running.items():
                task.cancel()
                server.open -= 1
        return Answers(tokens, time.perf_counter() - begin)

    def _next(self, others_run: bool) -> Server | None:
        """The usable server with the fewest open prompts, if it has room: or anyway, if nothing else would go on. Of equals
        the one that was asked least, so that single prompts, the log-prob probe's, reach all of them in turn."""
        server = min(self.usable, key=lambda server: (server.open, server.asked), default=None)
        if server is not None and others_run and server.open >= self._concurrency:
            return None
        return server
