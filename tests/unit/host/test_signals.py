"""Rests between looks at the machine, so that frames have most of the time."""

import asyncio
import time

from pktlb.host.signals import rest_after

SHARE = 10
WORK_S = 0.02


def rested(work: float, waiting: float) -> float:
    """Seconds of rest after `work` seconds of CPU time and `waiting` seconds without the CPU."""

    async def look() -> float:
        async with rest_after(SHARE):
            end = time.thread_time() + work
            while time.thread_time() < end:
                pass
            await asyncio.sleep(waiting)
            begin = time.monotonic()
        return time.monotonic() - begin

    return asyncio.run(look())


def test_a_look_is_followed_by_a_rest_of_many_times_its_work() -> None:
    assert rested(WORK_S, 0) >= SHARE * WORK_S


def test_a_look_that_had_to_wait_for_the_cpu_is_not_followed_by_a_longer_rest() -> None:
    """In an overload a look takes long by the clock; the next one must not be seconds later."""
    assert rested(0, 0.3) < 1
