"""The footer of the limit editor: drifted limits, for how long a change is to hold, status, keys."""

from __future__ import annotations

from typing import Final

from textual.app import ComposeResult
from textual.containers import Vertical

from tui.app.widgets.plain import Plain
from tui.present.format import age, clean
from tui.present.messages import Message, say

LEASE_TIMES_S: Final = (0.0, 60.0, 300.0, 900.0, 3600.0)  # 0: for good


class LimitFoot(Vertical):
    """Four texts; the keys are always shown.

    Attributes:
        lease_s: seconds after which the change is taken back unless it is confirmed; 0 for a change for good.
    """

    def __init__(self, keys: str) -> None:
        super().__init__(id="limit-foot")
        self.lease_s = LEASE_TIMES_S[0]
        self._drift = Plain(id="limit-drift")
        self._lease = Plain(id="limit-lease")
        self._status = Plain(id="limit-status")
        self._keys = Plain(keys, id="limit-keys")

    def compose(self) -> ComposeResult:
        """Drift, lease, status, keys."""
        yield self._drift
        yield self._lease
        yield self._status
        yield self._keys

    def drifted(self, text: str) -> None:
        """Show the drifted limits; an empty text hides the line."""
        self._drift.show(clean(text))
        self._drift.display = bool(text)

    def next_lease(self) -> None:
        """Go on to the next time after which the change is taken back; after the longest it is for good again."""
        self.lease_s = LEASE_TIMES_S[(LEASE_TIMES_S.index(self.lease_s) + 1) % len(LEASE_TIMES_S)]
        self._lease.show(say(Message.EDITOR_LEASE, time=age(self.lease_s)) if self.lease_s else "")
        self._lease.display = bool(self.lease_s)

    def say(self, text: str, bad: bool = False) -> None:
        """Show the status; an empty text hides the line."""
        self._status.show(clean(text))
        self._status.set_class(bool(text), "-filled")
        self._status.set_class(bad, "-bad")

    def keys(self, text: str) -> None:
        """Show the available keys."""
        self._keys.show(text)
