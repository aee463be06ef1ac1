"""Many items at once: as many workers as requests may be in flight, each takes the next item and asks until it is done."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Generic, TypeVar

from prism_pl.endpoint.client import Endpoint, NoAnswer
from prism_pl.endpoint.options import EndpointOptions

MOST_FAILURES = 20
"""Items without an answer, none between them with one, after which the endpoint is given up."""

Item = TypeVar("Item")


class Workers(Generic[Item]):
    """One run over items. What no retry can mend, such as a wrong key, ends it with UserError."""

    def __init__(self, options: EndpointOptions) -> None:
        self.options = options
        self.num_requests = 0
        """Requests sent, repeated ones included."""
        self.failures: dict[Item, str] = {}
        """Why an item got no answer."""
        self._failures_in_succession = 0

    @property
    def given_up(self) -> bool:
        """True if the endpoint has failed so many items that the rest were not asked for."""
        return self._failures_in_succession >= MOST_FAILURES

    def answered(self) -> None:
        """The endpoint has answered something: it is alive."""
        self._failures_in_succession = 0

    async def run(self, items: Iterable[Item], work: Callable[[Item, Endpoint], Awaitable[None]]) -> None:
        """Returns when ``work`` has done each item or has raised NoAnswer for it, or the endpoint is given up."""
        remaining = iter(items)
        async with Endpoint(self.options) as endpoint:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self.options.concurrency):
                        group.create_task(self._work(remaining, endpoint, work))
            except BaseExceptionGroup as errors:
                # The first one has cancelled the others.
                raise errors.exceptions[0] from None
            finally:
                self.num_requests = endpoint.num_requests

    async def _work(
        self, remaining: Iterator[Item], endpoint: Endpoint, work: Callable[[Item, Endpoint], Awaitable[None]]
    ) -> None:
        for item in remaining:
            try:
                await work(item, endpoint)
            except NoAnswer as failure:
                self.failures[item] = str(failure)
                self._failures_in_succession += 1
            if self.given_up:
                return
