"""What a command says while it waits for a change that takes long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from tui.cli import diagnostics
from tui.core import slow_changes
from tui.present.messages import Message, say


def waiting_told(under_way: Callable[[], Sequence[str]]) -> AbstractAsyncContextManager[None]:
    """Within the block: a line on stderr for each change that takes long."""
    return slow_changes.waiting_told(
        under_way, lambda what: diagnostics.complain(say(Message.STILL_WAITING, what=what))
    )
