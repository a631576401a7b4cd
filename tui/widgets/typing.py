"""A field whose keys act in the order in which they come."""

from __future__ import annotations

from textual import events
from textual.widgets import Input


class Typing(Input):
    """Textual inserts a character at once, but lets the keys that edit travel up to the app before they act.

    Over SSH several keys come in one packet: a backspace would act after what was typed behind it, and `0.2`,
    backspace, `5` would read 0.2 (Textual issue 6605). Here the field's own keys act at once too.
    """

    async def on_key(self, event: events.Key) -> None:
        """Before Textual's own handler, which inserts."""
        for binding in self._bindings.key_to_bindings.get(event.key, ()):
            if not binding.priority and await self.app.run_action(binding.action, self):
                event.prevent_default()
                event.stop()
                return
