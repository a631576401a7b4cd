"""A queue of keys: each is dispatched only after the key before it has been handled completely."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from textual import events
from textual.keys import _character_to_key
from textual.message_pump import MessagePump
from textual.timer import Timer
from textual.widgets import Input

from tui.app.fault_tolerance import FaultTolerantApp
from tui.app.typeahead import Typeahead
from tui.core.keyboard_layout import latin_at

KEY_TIMEOUT_S: Final = 0.5  # a key is dispatched after this time even if a widget has not handled the one before


class KeyQueueApp(FaultTolerantApp):
    """An app that handles keys strictly in order.

    Textual dispatches each key at once to the widget that has the focus, and runs the key's action later. Several keys
    can arrive in one packet: of `/nginx` the slash would open the filter, and the `x` would still reach the list, where
    it stops a container. So a key waits until the one before has bubbled up to the app and the screen that it opened is
    mounted.
    """

    def __init__(self, *, ansi_color: bool | None = None) -> None:
        super().__init__(ansi_color=ansi_color)
        self._waiting: deque[events.Key] = deque()
        self._sequence = 0
        self._typeahead = Typeahead()
        self._guard: Timer | None = None  # set while a key is being handled
        self.last_input_s = -math.inf  # on the monotonic clock: the last key, click or turn of the wheel

    async def on_event(self, event: events.Event) -> None:
        """Queue keys from the terminal; pass on every other event."""
        if isinstance(event, events.Key | events.MouseDown | events.MouseScrollDown | events.MouseScrollUp):
            self.last_input_s = max(self.last_input_s, event.time)
        if not isinstance(event, events.Key) or event.is_forwarded:
            await super().on_event(event)
            return
        self._waiting.append(event)
        if self._guard is None:
            await self._dispatch_next()

    async def _dispatch_next(self) -> None:
        if self._guard is not None:
            self._guard.stop()
            self._guard = None
        self._sequence += 1
        while self._waiting and self._typeahead.is_stray(self._waiting[0], self):
            self._waiting.popleft()
        if not self._waiting:
            return
        key = self._at_its_place(self._waiting.popleft())
        if self._typeahead.is_dead(key, self):
            self.dead_key(key)
        self._guard = self.set_timer(KEY_TIMEOUT_S, self._dispatch_next)
        begins = self.focused or self.screen
        nodes: deque[MessagePump | None] = deque(node for node in begins.ancestors_with_self if node is not self)
        await super().on_event(key)
        await self._await_queues(self._sequence, nodes + deque([self, None, self]))

    def _at_its_place(self, key: events.Key) -> events.Key:
        """The key; of a Cyrillic layout the Latin one at its place, if that is a command here and no text is typed."""
        latin = latin_at(key.character) if key.character is not None else None
        if latin is None or isinstance(self.focused, Input):
            return key
        name, bound = _character_to_key(latin), self.screen.active_bindings
        if key.key in bound or name not in bound:
            return key
        meant = events.Key(name, latin)
        meant.time = key.time
        return meant

    def dead_key(self, key: events.Key) -> None:
        """A key that does nothing on the screen that gets it now."""

    async def _await_queues(self, sequence: int, nodes: deque[MessagePump | None]) -> None:
        """Wait for the message queue of each node that the key bubbles to; None is the screen on top at that time."""
        while sequence == self._sequence and nodes:
            node = nodes.popleft()
            if (self.screen if node is None else node).call_later(self._await_queues, sequence, nodes):
                return
        if sequence == self._sequence:
            await self._dispatch_next()
