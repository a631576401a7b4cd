"""The confirmation dialog of actions that cannot be undone."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Static

from tui.app.services import services
from tui.app.typeahead import Dialog
from tui.present.format import clean
from tui.present.messages import Message, say


class ConfirmScreen(Dialog[bool], inherit_bindings=False):
    """A confirmation that only `y` or a click gives. Every other key cancels, also Enter.

    Where nothing is lost, the key that has opened it may be pressed again in place of `y`. Held down it gives one
    answer: it is bound to nothing here, so that `Typeahead` drops its repeats.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", show=False),
        Binding("n,escape,q", "answer(False)", "No", show=False),
    ]

    def __init__(
        self,
        title: str,
        body: str,
        confirm_label: str,
        danger: bool,
        *,
        target: str = "",
        again: Collection[str] = (),
    ) -> None:
        """`target` says which container it is about: its engine, id and figures. `again`: keys that confirm too."""
        super().__init__()
        self._again = again
        self._target = target
        self._title, self._body = clean(title), body
        self._label = confirm_label
        self._danger = danger

    def compose(self) -> ComposeResult:
        """The question and its keys in a frame."""
        with VerticalScroll(id="confirm", classes="dialog", can_focus=False) as frame:
            sure = Message.REVERSIBLE if self._again else Message.ARE_YOU_SURE
            frame.border_title = say(Message.CANNOT_BE_UNDONE if self._danger else sure)
            yield Static(self._title, id="confirm-title", markup=False)
            if self._target:
                yield Static(self._target, id="confirm-target", markup=False)
            yield Static(self._body, id="confirm-body", markup=False)
            with Horizontal(id="confirm-keys"):
                confirm = Message.CONFIRM_AGAIN if self._again else Message.CONFIRM
                text = say(confirm, label=self._label.lower(), key=next(iter(self._again), ""))
                yield Static(text, id="confirm-yes", markup=False)
                yield Static(f" {services(self).glyphs.dot} ")
                yield Static(say(Message.LEAVE), id="confirm-no", markup=False)

    def on_mount(self) -> None:
        """A red frame for an action that cannot be undone."""
        self.query_one("#confirm").set_class(self._danger, "-danger")

    @on(events.Click, "#confirm-yes")
    def _yes_clicked(self) -> None:
        self.action_answer(True)

    @on(events.Click, "#confirm-no")
    def _no_clicked(self) -> None:
        self.action_answer(False)

    def on_key(self, event: events.Key) -> None:
        """Cancel on a key without a binding, unless it is one of `again`."""
        if event.key in self._again or event.key not in self.active_bindings:
            event.stop()
            self.action_answer(event.key in self._again)

    def action_answer(self, yes: bool) -> None:
        """Close with the answer, once."""
        if self.is_current:
            self.dismiss(yes)
