"""Asks before something is done that cannot be taken back."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from tui.format import clean


class ConfirmScreen(ModalScreen[bool]):
    """A question with two buttons. The safe one has the focus when the other one destroys; `y` always means yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", show=False),
        Binding("n,escape,q", "answer(False)", "No", show=False),
        Binding("left,up", "app.focus_previous", "Other button", show=False),
        Binding("right,down", "app.focus_next", "Other button", show=False),
    ]

    def __init__(self, title: str, body: str, confirm_label: str, danger: bool) -> None:
        super().__init__()
        self._title, self._body = clean(title), body
        self._label = confirm_label
        self._danger = danger

    def compose(self) -> ComposeResult:
        """The question in a frame."""
        with VerticalScroll(id="confirm", classes="dialog", can_focus=False) as frame:
            frame.border_title = "Cannot be undone" if self._danger else "Are you sure?"
            yield Static(self._title, id="confirm-title", markup=False)
            yield Static(self._body, id="confirm-body", markup=False)
            with Horizontal(id="confirm-buttons"):
                yield Button("Cancel (esc)", id="cancel", compact=True)
                yield Button(f"{self._label} (y)", id="confirm-yes", compact=True)

    def on_mount(self) -> None:
        """Begin on the safe button where it matters."""
        self.query_one("#confirm").set_class(self._danger, "-danger")
        self.query_one("#cancel" if self._danger else "#confirm-yes", Button).focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "confirm-yes")

    def action_answer(self, yes: bool) -> None:
        """A key answers at once."""
        self.dismiss(yes)
