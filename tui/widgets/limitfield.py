"""One row of the limit editor: what the kernel holds, what is in use, and a field for the new value."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Static

from runtime.model import LimitName, Missing
from tui import editing
from tui.editing import Entry, Held
from tui.format import clean

UNLIMITED_TEXT = "unlimited"
KINDS = ("info", "warning", "refuse")


class LimitInput(Input):
    """A field in which one key stands for a value: `u` for unlimited, `<` and `>` for half and double."""

    class Scaled(Message):
        """Half or double was asked for."""

        def __init__(self, field: LimitInput, factor: float) -> None:
            super().__init__()
            self.field = field
            self.factor = factor

    def on_key(self, event: events.Key) -> None:
        """Take the keys that stand for a value before they are typed."""
        character = event.character
        if character in ("<", ">"):
            self.post_message(self.Scaled(self, 0.5 if character == "<" else 2.0))
        elif character in ("u", "U"):
            self.set(UNLIMITED_TEXT)
        elif self.value == UNLIMITED_TEXT and character is not None and character.isprintable():
            if not character.isdigit():
                event.prevent_default()
                return  # the rest of the word, by somebody who types it out
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
    """The row. Its message line says what is wrong with the value, what it would do, or why it cannot be set."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(id=f"field-{entry.name.value.replace('_', '-')}")
        self.entry = entry
        self.held: Held = Missing.NOT_SAMPLED
        self._told = ""
        self._now = Static("", classes="now", markup=False)
        self._uses = Static("", classes="uses", markup=False)
        self._message = Static("", classes="message", markup=False)
        self._reason = Static("", classes="reason", markup=False)
        self.input = LimitInput(
            placeholder=f"e.g. {entry.example}", compact=True, select_on_focus=False, classes="value"
        )
        self._lasts = Static("", classes="lasts", markup=False)

    def compose(self) -> ComposeResult:
        """Label, held, in use, new; below it the message."""
        with Horizontal(classes="row"):
            yield Static(self.entry.label, classes="label", markup=False)
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
        """What is typed; nothing while the field is closed."""
        return "" if self.has_class("-closed") else self.input.value

    @property
    def told(self) -> str:
        """What is said about the value, or why the field is closed."""
        return self._told

    def hold(self, held: Held) -> None:
        """Show what the kernel holds."""
        self.held = held
        self._now.update(editing.shown(self.name_, held))

    def last(self, text: str) -> None:
        """Show whether what is held survives a restart."""
        self._lasts.update(text)

    def suggest(self, text: str) -> None:
        """Show an example while nothing is typed."""
        self.input.placeholder = f"e.g. {text}"

    def use(self, text: str) -> None:
        """Show what is in use."""
        self._uses.update(text)

    def close(self, reason: str) -> None:
        """It cannot be set, for this reason."""
        self.add_class("-closed")
        self.input.disabled = True
        self._told = reason
        self._reason.update(clean(reason))

    def tell(self, text: str, kind: str = "info") -> None:
        """Say something below the row; an empty text takes it away."""
        self._told = text
        self._message.update(clean(text))
        self._message.set_class(bool(text), "-told")
        for known in KINDS:
            self._message.set_class(known == kind, f"-{known}")
