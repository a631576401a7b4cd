"""Keys act one after the other: each is handed on when the one before it has done what it does."""

from __future__ import annotations

from collections import deque
from typing import Final

from textual import events
from textual.app import App
from textual.message_pump import MessagePump
from textual.timer import Timer

from tui.app.typeahead import Typeahead

PATIENCE: Final = 0.5  # seconds after which a key is handed on although a widget on the way has not answered


class KeysInTurn(App[None]):
    """Textual hands each key at once to what has the focus, and lets what a key does come later.

    Over SSH several keys come in one packet. `/nginx` would open the filter, and its `x` would still be the list's:
    stop. So a key waits until the one before has gone its way up to the app, and the screen that it opened stands.
    """

    def __init__(self, *, ansi_color: bool | None = None) -> None:
        super().__init__(ansi_color=ansi_color)
        self._waiting: deque[events.Key] = deque()
        self._turn = 0
        self._typeahead = Typeahead()
        self._guard: Timer | None = None  # there is one while a key is on its way

    async def on_event(self, event: events.Event) -> None:
        """Take keys that come from the terminal; everything else goes the usual way."""
        if not isinstance(event, events.Key) or event.is_forwarded:
            await super().on_event(event)
            return
        self._waiting.append(event)
        if self._guard is None:
            await self._hand_on()

    async def _hand_on(self) -> None:
        if self._guard is not None:
            self._guard.stop()
            self._guard = None
        self._turn += 1
        while self._waiting and self._typeahead.is_stray(self._waiting[0], self):
            self._waiting.popleft()
        if not self._waiting:
            return
        key = self._waiting.popleft()
        if self._typeahead.is_dead(key, self):
            self.dead_key(key)
        self._guard = self.set_timer(PATIENCE, self._hand_on)
        begins = self.focused or self.screen
        way: deque[MessagePump | None] = deque(node for node in begins.ancestors_with_self if node is not self)
        await super().on_event(key)
        await self._go(self._turn, way + deque([self, None, self]))

    def dead_key(self, key: events.Key) -> None:
        """A key that does nothing on the screen that gets it now."""

    async def _go(self, turn: int, way: deque[MessagePump | None]) -> None:
        """Behind the key through the queues of those whom it passes; None is the screen that is on top by then."""
        while turn == self._turn and way:
            node = way.popleft()
            if (self.screen if node is None else node).call_later(self._go, turn, way):
                return
        if turn == self._turn:
            await self._hand_on()
