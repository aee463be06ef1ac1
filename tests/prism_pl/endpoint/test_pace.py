"""Pacing under a clock of our own: gaps, order, holds."""

import asyncio

from prism_pl.endpoint.pace import Pace


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


async def departures(pace: Pace, clock: Clock, count: int) -> list[float]:
    """When each of so many requests left, all of them wanting to at once."""
    times: list[float] = []

    async def leave() -> None:
        await pace.wait()
        times.append(clock.now)

    await asyncio.gather(*(leave() for _ in range(count)))
    return times


def test_thirty_a_minute_leave_two_seconds_apart() -> None:
    async def check() -> None:
        clock = Clock()
        pace = Pace(30, clock, clock.sleep)
        assert await departures(pace, clock, 4) == [100, 102, 104, 106]
        # An idle time is no credit for a burst later.
        clock.now = 200
        assert await departures(pace, clock, 3) == [200, 202, 204]

    asyncio.run(check())


def test_no_limit_is_no_gap() -> None:
    clock = Clock()
    assert asyncio.run(departures(Pace(None, clock, clock.sleep), clock, 3)) == [100, 100, 100]


def test_a_hold_stops_everybody_also_those_who_sleep_already() -> None:
    clock = Clock()
    pace = Pace(30, clock, clock.sleep)

    async def hold_while_one_sleeps() -> list[float]:
        times: list[float] = []

        async def leave() -> None:
            await pace.wait()
            times.append(clock.now)
            if len(times) == 1:
                # The second one is about to sleep until 102.
                asyncio.get_running_loop().call_soon(pace.hold, 60)

        await asyncio.gather(*(leave() for _ in range(3)))
        return times

    first, second, third = asyncio.run(hold_while_one_sleeps())
    assert first == 100
    assert second >= 160
    assert third == second + 2


def test_a_short_hold_shortens_no_gap() -> None:
    async def check() -> None:
        clock = Clock()
        pace = Pace(6, clock, clock.sleep)
        assert await departures(pace, clock, 1) == [100]
        pace.hold(3)
        assert await departures(pace, clock, 1) == [110]

    asyncio.run(check())
