"""One change of containment at a time, each of which comes to its end, whoever waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class ChangeQueue:
    """Runs changes in order, as tasks of their own."""

    def __init__(self, name: str) -> None:
        """`name` is that of the tasks."""
        self._name = name
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run it after those before it; it goes on when the caller is cancelled, and a failure is then logged."""
        task = self.begin(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(log_failure)
            raise

    def begin(self, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """The same without waiting for it."""

        async def in_turn() -> T:
            async with self._lock:
                return await work()

        task = asyncio.create_task(in_turn(), name=self._name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Wait for those that were begun."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


def log_failure(task: asyncio.Task[Any]) -> None:
    """Of a task that nobody waits for."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s, which nobody waits for", task.get_name(), exc_info=error)
