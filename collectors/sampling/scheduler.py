"""When to sweep: on monotonic deadlines, one call into a thread per sweep, never two sweeps at once.

Deadlines that pass during a long sweep are dropped, so a slow machine samples less often and never falls behind.
Frames are delivered by a callback on the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from collectors.sampling.frame import Frame
from collectors.sampling.target import Target
from runtime.kernel import threads

MIN_INTERVAL_S = 0.05


class Sweeps(Protocol):
    """What the scheduler needs of a `collectors.sampling.sweep.Sweeper`."""

    def sweep(self, targets: Sequence[Target]) -> Frame: ...


def next_deadline(deadline: float, interval: float, now: float) -> float:
    """The first deadline after `now` on the grid that `deadline` and `interval` (seconds) span."""
    missed = (now - deadline) // interval
    return deadline + interval * (max(0.0, missed) + 1)


class Scheduler:
    """Sweeps every `interval` seconds until cancelled.

    Attributes:
        dropped: ticks that were left out because a sweep took longer than the interval.
    """

    def __init__(
        self,
        sweeper: Sweeps,
        targets: Callable[[], Sequence[Target]],
        on_frame: Callable[[Frame], None],
        interval: float = 1.0,
        *,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        """`targets`, `on_frame` and `on_error` are called on the event loop and must be quick.

        Without `on_error` an exception of a sweep goes to the loop's exception handler.
        """
        self._sweeper = sweeper
        self._targets = targets
        self._on_frame = on_frame
        self._on_error = on_error
        self._interval = max(MIN_INTERVAL_S, interval)
        self._wake = asyncio.Event()
        self._sweep_lock = asyncio.Lock()
        self._restart_grid = False
        self.dropped = 0

    @property
    def interval(self) -> float:
        """Seconds between sweeps; a new value takes effect at once and is at least `MIN_INTERVAL_S`."""
        return self._interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        self._interval = max(MIN_INTERVAL_S, seconds)
        self._restart_grid = True
        self._wake.set()

    async def run(self) -> None:
        """Sweep now and at every deadline. Ends only by cancellation, after a sweep under way has ended."""
        deadline = time.monotonic()
        while True:
            await self.sweep_now()
            now = time.monotonic()
            if self._restart_grid:
                deadline, self._restart_grid = now, False
            following = next_deadline(deadline, self._interval, now)
            self.dropped += round((following - deadline) / self._interval) - 1
            deadline = await self._sleep_until(following)

    async def _sleep_until(self, deadline: float) -> float:
        """Wait for the deadline and return it; a change of the interval meanwhile moves it."""
        started = time.monotonic()
        while (left := deadline - time.monotonic()) > 0:
            self._wake.clear()
            if self._restart_grid:
                deadline, self._restart_grid = started + self._interval, False
                continue
            try:
                async with asyncio.timeout(left):  # wait_for would lose a cancellation that comes with a wake
                    await self._wake.wait()
            except TimeoutError:
                break
        return deadline

    async def sweep_now(self) -> Frame | None:
        """One extra sweep (after a change, or on a key); None when it raised.

        Waits first for a sweep that is running. A cancelled sweep runs to its end in its thread before this returns,
        since its descriptors are in use until then.
        """
        async with self._sweep_lock:
            targets = tuple(self._targets())
            try:
                frame = await threads.measuring(self._sweeper.sweep, targets)
            except Exception as error:  # noqa: BLE001 - a sweep that fails is reported, and the next one follows
                self._report(error)
                return None
            self._on_frame(frame)
            return frame

    def _report(self, error: Exception) -> None:
        if self._on_error is not None:
            self._on_error(error)
            return
        asyncio.get_running_loop().call_exception_handler({"message": "a sweep failed", "exception": error})
