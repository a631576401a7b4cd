"""One row of the limit editor: current value, use, and an input for the new value."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.geometry import Size
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from runtime.model import LimitName, Missing
from tui.present.cells import chop_cells, set_cell_size
from tui.present.format import clean, fit
from tui.present.limit_entries import LimitEntry
from tui.present.limit_text import LimitValue, format_limit
from tui.present.messages import Message, say

UNLIMITED_TEXT = "unlimited"
KINDS = ("info", "warning", "refuse")
LABEL_CELLS, NOW_CELLS, USE_CELLS, LASTS_CELLS = 12, 11, 9, 13  # dialogs.tcss has the place of the input between them
GAP_CELLS = 2  # before the input, and before a message


class LimitInput(Input):
    """An input with keys for values: `u` is unlimited, `<` half and `>` double."""

    compact = reactive(True, toggle_class="-textual-compact")

    def __init__(self, scale: Callable[[float], None], *, placeholder: str) -> None:
        """`scale` takes the value times a factor; called at once, so that the key after it finds the new value."""
        classes = "value -textual-compact"  # from the start: a class that changes makes the styles again
        super().__init__(placeholder=placeholder, compact=True, select_on_focus=False, classes=classes)
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


class LimitField(Widget):
    """The row. Its message lines show an error, a finding, or why the limit cannot be set.

    All but the input is drawn here, in styles of the screen: a form of twenty rows with a widget for each text, or with
    styles for each row, takes half a second to appear.
    """

    STYLES: ClassVar[frozenset[str]] = frozenset({"limit--weak", *(f"limit--{kind}" for kind in KINDS)})  # the screen's

    def __init__(self, entry: LimitEntry, scale: Callable[[LimitField, float], None], *, reason: str = "") -> None:
        """`scale` is called with this field and a factor; `reason` is why the limit cannot be set, if it is known."""
        name = entry.name.value.replace("_", "-")
        super().__init__(id=f"field-{name}")
        self.entry = entry
        self.held: LimitValue = Missing.NOT_SAMPLED
        self.reason = self.message_text = reason
        self.uses = ""
        self.narrow = False
        self._now = self._lasts = ""
        self._kind = KINDS[0]
        self._rows: tuple[str, ...] = ()  # of the message or the reason, as drawn last
        self.input = LimitInput(partial(scale, self), placeholder=say(Message.EXAMPLE, text=entry.example))
        self.input.disabled = bool(reason)

    def compose(self) -> ComposeResult:
        """The input, if the limit can be set; what is beside it is drawn."""
        if not self.reason:
            yield self.input

    @property
    def name_(self) -> LimitName:
        return self.entry.name

    @property
    def text(self) -> str:
        """The typed text; empty while the field is disabled."""
        return "" if self.reason else self.input.value

    @property
    def refused(self) -> bool:
        """The message refuses the value."""
        return bool(self.message_text) and self._kind == "refuse"

    def hold(self, held: LimitValue) -> None:
        """Show the kernel's value."""
        self.held = held
        self._show(_now=format_limit(self.name_, held))

    def last(self, text: str) -> None:
        """Show whether the value is kept at a restart."""
        self._show(_lasts=text)

    def suggest(self, text: str) -> None:
        """Set the placeholder."""
        self.input.placeholder = say(Message.EXAMPLE, text=text)

    def use(self, text: str) -> None:
        """Show the use."""
        self._show(uses=text)

    def close(self, reason: str) -> None:
        """Disable the field and show the reason."""
        self.input.disabled = True
        self.input.display = False
        self._show(reason=reason, message_text=reason)

    def set_message(self, text: str, kind: str = "info") -> None:
        """Set the message; an empty text hides it."""
        self._show(message_text=text, _kind=kind)

    def narrowed(self, narrow: bool) -> None:
        """Leave out use and duration in a narrow terminal."""
        self._show(narrow=narrow)

    def _show(self, **texts: object) -> None:
        """Set attributes, and draw the row again if one has changed; lay it out if its height has changed."""
        if all(getattr(self, name) == text for name, text in texts.items()):
            return
        for name, text in texts.items():
            setattr(self, name, text)
        rows = self._wrapped(self.size.width)
        self.refresh(layout=len(rows) != len(self._rows))

    # drawing

    @property
    def _before_cells(self) -> int:
        """Of what is before the input or the reason."""
        return LABEL_CELLS + NOW_CELLS + GAP_CELLS + (0 if self.narrow else USE_CELLS)

    def _wrapped(self, width: int) -> tuple[str, ...]:
        """The rows of the reason or the message."""
        room = width - (self._before_cells if self.reason else GAP_CELLS)
        return tuple(_wrapped(clean(self.message_text), max(8, room))) if self.message_text and width else ()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """One row, and those of the message below it; a reason begins on the row itself."""
        self._rows = self._wrapped(width)
        return max(1, len(self._rows)) if self.reason else 1 + len(self._rows)

    def render_line(self, y: int) -> Strip:
        """One row."""
        width = self.size.width
        return Strip(list(self._segments(y, width))).adjust_cell_length(width, self.rich_style)

    def _segments(self, y: int, width: int) -> Iterator[Segment]:
        label, weak = self.rich_style, self._style("weak")
        rows = self._wrapped(width)
        if self.reason:
            head = self._head() if y == 0 else ""
            yield Segment(set_cell_size(head, self._before_cells) + (rows[y] if y < len(rows) else ""), weak)
        elif y == 0:
            yield Segment(self._head()[: LABEL_CELLS + NOW_CELLS], label)
            yield Segment(self._head()[LABEL_CELLS + NOW_CELLS :], weak)
            if not self.narrow:
                rest = width - self._before_cells + GAP_CELLS
                yield Segment(fit(self._lasts, rest, right=True, more=""), weak)
        else:
            text = rows[y - 1] if y <= len(rows) else ""
            yield Segment(" " * GAP_CELLS + text, self._style(self._kind))

    def _style(self, name: str) -> Style:
        return self.rich_style + self.screen.get_component_rich_style(f"limit--{name}", partial=True)

    def _head(self) -> str:
        """Label, current value, use."""
        use = "" if self.narrow else fit(self.uses, USE_CELLS, right=True, more="")
        return f"{self.entry.label:<{LABEL_CELLS}}{fit(self._now, NOW_CELLS, right=True, more='')}{use}"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width) if text.isascii() else chop_cells(text, width)


def heads(narrow: bool) -> str:
    """The titles above the rows."""
    now = f"{'':<{LABEL_CELLS}}{'now':>{NOW_CELLS}}"
    return f"{now}  new" if narrow else f"{now}{'in use':>{USE_CELLS}}  {'new':<20}after restart"
