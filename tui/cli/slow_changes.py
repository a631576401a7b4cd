"""A change that takes long: it is waited for, and the command says what for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from tui.cli import diagnostics
from tui.present.messages import Message, say

SLOW_S: Final = 10.0


@contextlib.asynccontextmanager
async def waiting_told(under_way: Callable[[], Sequence[str]]) -> AsyncIterator[None]:
    """Say on stderr, once for each, which of the changes under way has lasted `SLOW_S` to twice that."""
    task = asyncio.create_task(_tell(under_way))
    try:
        yield
    finally:
        task.cancel()


async def _tell(under_way: Callable[[], Sequence[str]]) -> None:
    before: set[str] = set()
    told: set[str] = set()
    while True:
        await asyncio.sleep(SLOW_S)
        now = set(under_way())
        for title in sorted((now & before) - told):
            diagnostics.complain(say(Message.STILL_WAITING, what=title))
        told = (told | before) & now
        before = now
