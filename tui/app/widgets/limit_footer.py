"""The footer of the limit editor: drifted limits, status, keys."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical

from tui.app.widgets.plain import Plain
from tui.present.format import clean


class LimitFoot(Vertical):
    """Three texts; the keys are always shown."""

    def __init__(self, keys: str) -> None:
        super().__init__(id="limit-foot")
        self._drift = Plain(id="limit-drift")
        self._status = Plain(id="limit-status")
        self._keys = Plain(keys, id="limit-keys")

    def compose(self) -> ComposeResult:
        """Drift, status, keys."""
        yield self._drift
        yield self._status
        yield self._keys

    def drifted(self, text: str) -> None:
        """Show the drifted limits; an empty text hides the line."""
        self._drift.show(clean(text))
        self._drift.display = bool(text)

    def say(self, text: str, bad: bool = False) -> None:
        """Show the status; an empty text hides the line."""
        self._status.show(clean(text))
        self._status.set_class(bool(text), "-filled")
        self._status.set_class(bad, "-bad")

    def keys(self, text: str) -> None:
        """Show the available keys."""
        self._keys.show(text)
