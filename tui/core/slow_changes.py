"""Changes that take long: they are waited for, and whoever waits is told what for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

SLOW_S: Final = 10.0


@contextlib.asynccontextmanager
async def waiting_told(under_way: Callable[[], Sequence[str]], tell: Callable[[str], None]) -> AsyncIterator[None]:
    """Within the block, `watch`."""
    task = asyncio.create_task(watch(under_way, tell))
    try:
        yield
    finally:
        task.cancel()


async def watch(under_way: Callable[[], Sequence[str]], tell: Callable[[str], None]) -> None:
    """Until cancelled: `tell` once of each change under way that has lasted for `SLOW_S` to twice that."""
    before: set[str] = set()
    told: set[str] = set()
    while True:
        await asyncio.sleep(SLOW_S)
        now = set(under_way())
        for title in sorted((now & before) - told):
            tell(title)
        told = (told | before) & now
        before = now
