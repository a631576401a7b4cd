"""The scheduler ends when it is cancelled, whatever else happens at that moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from collectors.sampling.frame import Frame, HostUsage
from collectors.sampling.scheduler import Scheduler, next_deadline
from collectors.sampling.target import Target


class Sweeps:
    def sweep(self, targets: Sequence[Target]) -> Frame:
        return Frame(1, 1, 1, 1, 1, HostUsage(ncpu=2), usages={})


async def test_a_cancellation_at_the_same_time_as_a_new_interval_is_not_lost() -> None:
    swept = asyncio.Event()
    scheduler = Scheduler(Sweeps(), tuple, lambda _: swept.set(), 60.0)
    running = asyncio.create_task(scheduler.run())
    await swept.wait()
    await asyncio.sleep(0.01)  # it sleeps until its deadline now
    scheduler.interval = 50.0
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=1.0)
    assert running in done
    assert running.cancelled()


async def test_a_slow_sweep_costs_the_ticks_that_it_missed() -> None:
    frames: list[Frame] = []
    first = asyncio.Event()

    class Slow(Sweeps):
        def sweep(self, targets: Sequence[Target]) -> Frame:
            time.sleep(0.0 if frames else 0.28)
            return super().sweep(targets)

    def take(frame: Frame) -> None:
        frames.append(frame)
        first.set()

    scheduler = Scheduler(Slow(), tuple, take, 0.1)
    running = asyncio.create_task(scheduler.run())
    await first.wait()
    await asyncio.sleep(0.02)
    assert scheduler.dropped >= 2
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize(
    ("deadline", "now", "following"),
    [
        (10.0, 10.0, 11.0),
        (10.0, 10.6, 11.0),
        (10.0, 11.0, 12.0),
        (10.0, 11.2, 12.0),
        (10.0, 14.9, 15.0),
        (10.0, 9.0, 11.0),
    ],
)
def test_missed_deadlines_are_dropped(deadline: float, now: float, following: float) -> None:
    assert next_deadline(deadline, 1.0, now) == following
