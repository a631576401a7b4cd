"""The foot of the limit editor: what somebody else has changed, how it stands, and the keys."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical

from tui.app.widgets.plain import Plain
from tui.present.format import clean


class LimitFoot(Vertical):
    """Three texts, of which the keys are always there."""

    def __init__(self, keys: str) -> None:
        super().__init__(id="limit-foot")
        self._drift = Plain(id="limit-drift")
        self._status = Plain(id="limit-status")
        self._keys = Plain(keys, id="limit-keys")

    def compose(self) -> ComposeResult:
        """From the top."""
        yield self._drift
        yield self._status
        yield self._keys

    def drifted(self, text: str) -> None:
        """Say what was changed; nothing takes the line away."""
        self._drift.show(clean(text))
        self._drift.display = bool(text)

    def say(self, text: str, bad: bool = False) -> None:
        """Say how it stands; nothing takes the line away."""
        self._status.show(clean(text))
        self._status.set_class(bool(text), "-told")
        self._status.set_class(bad, "-bad")

    def keys(self, text: str) -> None:
        """Say what can be pressed now."""
        self._keys.show(text)
