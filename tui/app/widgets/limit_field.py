"""One row of the limit editor: current value, use, and an input for the new value."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from runtime.model import LimitName, Missing
from tui.app.widgets.plain import Plain
from tui.present.format import clean
from tui.present.limit_entries import LimitEntry
from tui.present.limit_text import LimitValue, format_limit
from tui.present.messages import Message, say

UNLIMITED_TEXT = "unlimited"
KINDS = ("info", "warning", "refuse")


class LimitInput(Input):
    """An input with keys for values: `u` is unlimited, `<` half and `>` double."""

    def __init__(self, scale: Callable[[float], None], *, placeholder: str) -> None:
        """`scale` takes the value times a factor; called at once, so that the key after it finds the new value."""
        super().__init__(placeholder=placeholder, compact=True, select_on_focus=False, classes="value")
        self._scale = scale

    def on_key(self, event: events.Key) -> None:
        """Handle the keys that stand for a value instead of typing them."""
        character = event.character
        if character in ("<", ">"):
            self._scale(0.5 if character == "<" else 2.0)
        elif character in ("u", "U"):
            self.set(UNLIMITED_TEXT)
        elif self.value == UNLIMITED_TEXT and character is not None and character.isprintable():
            if not character.isdigit():
                event.prevent_default()
                return  # the remaining letters of a typed "unlimited"
            self.value = ""
            return
        else:
            return
        event.prevent_default()
        event.stop()

    def set(self, text: str) -> None:
        """Replace what was typed."""
        self.value = text
        self.cursor_position = len(text)


class LimitField(Vertical):
    """The row. Its message line shows an error, a finding, or why the limit cannot be set."""

    def __init__(self, entry: LimitEntry, scale: Callable[[LimitField, float], None]) -> None:
        super().__init__(id=f"field-{entry.name.value.replace('_', '-')}")
        self.entry = entry
        self.held: LimitValue = Missing.NOT_SAMPLED
        self._message_text = ""
        self._now = Plain(classes="now")
        self._uses = Plain(classes="uses")
        self._message = Plain(classes="message")
        self._reason = Plain(classes="reason")
        self.input = LimitInput(partial(scale, self), placeholder=say(Message.EXAMPLE, text=entry.example))
        self._lasts = Plain(classes="lasts")

    def compose(self) -> ComposeResult:
        """Label, current value, use, input; below them the message."""
        with Horizontal(classes="row"):
            yield Plain(self.entry.label, classes="label")
            yield self._now
            yield self._uses
            yield self.input
            yield self._reason
            yield self._lasts
        yield self._message

    @property
    def name_(self) -> LimitName:
        return self.entry.name

    @property
    def text(self) -> str:
        """The typed text; empty while the field is disabled."""
        return "" if self.has_class("-closed") else self.input.value

    @property
    def message_text(self) -> str:
        """The message."""
        return self._message_text

    @property
    def refused(self) -> bool:
        """The message refuses the value."""
        return self._message.has_class("-refuse")

    def hold(self, held: LimitValue) -> None:
        """Show the kernel's value."""
        self.held = held
        self._now.show(format_limit(self.name_, held))

    def last(self, text: str) -> None:
        """Show whether the value is kept at a restart."""
        self._lasts.show(text)

    def suggest(self, text: str) -> None:
        """Set the placeholder."""
        self.input.placeholder = say(Message.EXAMPLE, text=text)

    def use(self, text: str) -> None:
        """Show the use."""
        self._uses.show(text)

    def close(self, reason: str) -> None:
        """Disable the field and show the reason."""
        self.add_class("-closed")
        self.input.disabled = True
        self._message_text = reason
        self._reason.show(clean(reason))

    def set_message(self, text: str, kind: str = "info") -> None:
        """Set the message; an empty text hides it."""
        self._message_text = text
        self._message.show(clean(text))
        self._message.set_class(bool(text), "-filled")
        for known in KINDS:
            self._message.set_class(known == kind, f"-{known}")
