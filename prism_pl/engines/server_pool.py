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


class Asked:
    """A question and what becomes of it."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.answer: concurrent.futures.Future[list[Tokens]] = concurrent.futures.Future()
        """Raises NoServerLeftError when the last server is lost, UserError for a mistake in the prompt."""
        self.begin = time.perf_counter()
        self.end = self.begin
        self._lost = 0
        """Servers, over it."""

    def count_loss(self) -> bool:
        """Whether there were too many."""
        self._lost += 1
        return self._lost == _MOST_SERVERS

    def give(self, answer: list[Tokens]) -> None:
        self.end = time.perf_counter()
        self.answer.set_result(answer)

    def fail(self, error: BaseException) -> None:
        self.answer.set_exception(error)


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
        self.labels: list[str] = []
        """Of all weights so far. The last ones must answer, or, if there come new ones meanwhile, begin to."""
        self._why: dict[str, str] = {}
        """What became of those that this process has lost, by name."""
        self._waiting: deque[Asked] = deque()
        self._open: dict[asyncio.Task[None], Asked] = {}
        """What a server is asked now."""
        self._held = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vLLM servers", daemon=True)
        self._thread.start()

    @property
    def usable(self) -> list[Server]:
        return [server for server in self.servers if server.usable]

    @property
    def label(self) -> str:
        """Of the newest weights."""
        return self.labels[-1]

    def replace(self, servers: list[Server]) -> None:
        """By these. Nothing may be open at those that go."""
        kept = {id(server.client) for server in servers}
        for server in self.servers:
            if id(server.client) not in kept:
                self.run(server.client.close()).result()
        self.servers = servers

    def ask(self, questions: Sequence[Question]) -> list[Asked]:
        """Begins to ask them, in their order."""
        asked = [Asked(question) for question in questions]
        self._loop.call_soon_threadsafe(self._add, asked)
        return asked

    def wait(self) -> None:
        """Until nothing is open any more."""
        self.run(self._emptied()).result()

    def hold(self) -> None:
        """No server gets a further question until ``release``."""
        self._loop.call_soon_threadsafe(self._set_held, True)

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._set_held, False)

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
        self.run(self._cancel()).result()
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

    def _add(self, asked: Sequence[Asked]) -> None:
        self._waiting.extend(asked)
        self._dispatch()

    def _set_held(self, held: bool) -> None:
        self._held = held
        self._dispatch()

    def _dispatch(self) -> None:
        """Gives servers what they have room for."""
        while self._waiting and not self._held:
            server = self._next()
            if server is None:
                if not self.usable and not self._open:
                    self._fail_all(self.none_left())
                return
            asked = self._waiting.popleft()
            server.open += 1
            server.asked += 1
            self._open[self._loop.create_task(self._answer(server, asked))] = asked

    async def _answer(self, server: Server, asked: Asked) -> None:
        newest = len(self.labels) - 1
        try:
            asked.give(await server.client.answer(asked.question, lambda: self.labels[newest:]))
        except ServerLostError as why:
            self.leave_out(server, why)
            if asked.count_loss():
                source = asked.question.prompt.source
                asked.fail(self.none_left(f"{source}: {_MOST_SERVERS} servers were lost over it."))
            else:
                self._waiting.appendleft(asked)
        except Exception as error:
            asked.fail(error)
        finally:
            server.open -= 1
            del self._open[asyncio.current_task()]  # type: ignore[arg-type]
            self._dispatch()

    def _fail_all(self, error: Exception) -> None:
        while self._waiting:
            self._waiting.popleft().fail(error)

    async def _emptied(self) -> None:
        while self._open or self._waiting:
            await asyncio.wait([*self._open])

    async def _cancel(self) -> None:
        """Nobody waits for the answers."""
        self._waiting.clear()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _next(self) -> Server | None:
        """The usable server with the fewest open questions, if it has room. Of equals the one that was asked least, so that
        single prompts, the log-prob probe's, reach all of them in turn."""
        server = min(self.usable, key=lambda server: (server.open, server.asked), default=None)
        return server if server is not None and server.open < self._concurrency else None
