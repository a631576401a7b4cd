"""Notification of subscribers that something in the session has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Flag, auto
from typing import Protocol


class Changed(Flag):
    """What a subscriber should read again."""

    INVENTORY = auto()
    FRAME = auto()
    PROBLEMS = auto()
    CONTAINMENT = auto()  # leases, and how it stands with victims


class Caller(Protocol):
    """Calls a callback in such a way that what it raises stays there."""

    def __call__(self, name: str, callback: Callable[[Changed], None], what: Changed, /) -> None:
        """`name` is what the callback is called in a problem."""
        ...


class Notifier:
    """Calls the subscribers once per iteration of the event loop, with all changes of that iteration."""

    def __init__(self, call: Caller) -> None:
        self._call = call
        self._subscribers: list[Callable[[Changed], None]] = []
        self._pending: Changed | None = None
        self._closed = False

    def subscribe(self, callback: Callable[[Changed], None]) -> Callable[[], None]:
        """Call `callback` on the event loop after changes; the result ends it."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def tell(self, what: Changed) -> None:
        """Notify about a change."""
        if self._pending is None:
            self._pending = what
            asyncio.get_running_loop().call_soon(self._deliver)
        else:
            self._pending |= what

    def close(self) -> None:
        """Stop notifying."""
        self._closed = True

    def _deliver(self) -> None:
        what, self._pending = self._pending, None
        if what is None or self._closed:
            return
        for callback in tuple(self._subscribers):
            self._call(getattr(callback, "__qualname__", "a subscriber"), callback, what)
