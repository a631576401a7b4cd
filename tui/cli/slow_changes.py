"""What a command says while it waits for a change: that it takes long, and that it is finished before the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from tui.cli import diagnostics
from tui.core import slow_changes
from tui.present.messages import Message, say


@asynccontextmanager
async def waiting_told(under_way: Callable[[], Sequence[str]]) -> AsyncIterator[None]:
    """Within the block: a line on stderr for each change that takes long, and for one that an interrupt must await."""
    try:
        async with slow_changes.waiting_told(
            under_way, lambda what: diagnostics.complain(say(Message.STILL_WAITING, what=what))
        ):
            yield
    except asyncio.CancelledError:
        if under_way():
            diagnostics.complain(say(Message.FINISHING_COMMAND))
        raise
