"""Cancels a coroutine at one of its awaits, and says what stays behind of it."""

from __future__ import annotations

import asyncio
import os
import types
from collections.abc import Coroutine, Generator
from enum import StrEnum
from typing import Any

from runtime.kernel import threads


class Moment(StrEnum):
    """When the caller is cancelled: as it begins to wait, or when that for which it waits is there already."""

    WAITING = "waiting"
    DONE = "done"


class Cut:
    """`suspensions` is how often the coroutine has waited; `cancelled` whether it was cancelled."""

    def __init__(self) -> None:
        self.suspensions = 0
        self.cancelled = False

    @types.coroutine
    def _drive(self, work: Coroutine[Any, Any, Any], number: int, moment: Moment) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        try:
            awaited = work.send(None)
            while True:
                self.suspensions += 1
                if self.suspensions == number:
                    self.cancelled = True
                    if moment is Moment.DONE and isinstance(awaited, asyncio.Future):
                        awaited.add_done_callback(lambda _: task.cancel())  # before the task's own, so it is not told
                    else:
                        task.cancel()
                try:
                    value = yield awaited
                except BaseException as error:  # noqa: BLE001  (it goes where it would have gone)
                    awaited = work.throw(error)
                else:
                    awaited = work.send(value)
        except StopIteration as end:
            return end.value

    async def run(self, work: Coroutine[Any, Any, Any], number: int, moment: Moment) -> Any:
        """Run it in a task of its own, which is cancelled at its await `number` (0: at none); raises what it raises."""
        return await asyncio.create_task(self._until(work, number, moment))

    async def _until(self, work: Coroutine[Any, Any, Any], number: int, moment: Moment) -> Any:
        return await self._drive(work, number, moment)


def tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if not task.done()}


def unfinished_calls() -> dict[str, int]:
    """Calls that threads of the pools still make, by pool."""
    here = os.getpid()
    return {
        str(kind): pool._unfinished for (pid, kind), pool in threads._pools.items() if pid == here and pool._unfinished
    }


def descriptors(*, sockets: bool) -> list[str]:
    """What this process has open; inotify instances, locks, pidfds and files of /proc among it."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if sockets or not target.startswith("socket:"):
            found.append(target if not target.startswith(("socket:", "pipe:")) else target.partition(":")[0])
    return sorted(found)
