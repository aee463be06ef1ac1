"""When the next request may leave: evenly spaced, and none before the endpoint wants one."""

import asyncio
import time
from collections.abc import Awaitable, Callable


class Pace:
    """Requests leave ``60 / requests_per_minute`` seconds apart, so that no minute sees more; None is no limit.

    ``hold`` stops all of them for a while: a 429 concerns everybody who uses the key.
    """

    def __init__(
        self,
        requests_per_minute: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gap = 60 / requests_per_minute if requests_per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._earliest = clock()
        self._turn = asyncio.Lock()

    async def wait(self) -> None:
        """Returns when the caller's request may leave; callers are served in order."""
        async with self._turn:
            # A hold may come while we sleep, so the clock is asked again.
            while (delay := self._earliest - self._clock()) > 0:
                await self._sleep(delay)
            self._earliest = max(self._earliest, self._clock() + self._gap)

    def hold(self, seconds: float) -> None:
        """No request leaves for so long."""
        self._earliest = max(self._earliest, self._clock() + seconds)
