"""The scheduler ends when it is cancelled, whatever else happens at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from collectors.sampling.frame import Frame, HostUsage
from collectors.sampling.scheduler import Scheduler
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
