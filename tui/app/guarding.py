"""The guard in the dashboard: a key turns it on and off, the head says that it is on, and what it does is notified."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from runtime.errors import PytopError
from tui.core.guard.report import GuardEvent, GuardEventKind
from tui.core.guard.situation import GuardAction
from tui.core.guard.switch import GuardSwitch
from tui.core.session import Session
from tui.present import format as fmt
from tui.present import guard_text
from tui.present.guard_messages import GuardMessage
from tui.present.messages import Message, say

_QUIET = frozenset({GuardEventKind.STARTED, GuardEventKind.STOPPED, GuardEventKind.NOT_DONE})


class GuardControl:
    """Turns the guard on and off, and says what it does."""

    def __init__(
        self,
        session: Session,
        path: Path | None,
        *,
        notify: Callable[[str], None],
        failed: Callable[[PytopError], None],
    ) -> None:
        """`notify` shows a line about the guard, `failed` an error."""
        self._notify = notify
        self._failed = failed
        self._turning = asyncio.Lock()
        self._switch = GuardSwitch(session, path, tell=self._tell, failed=self._ended)

    @property
    def head(self) -> Sequence[str]:
        """What the head of the list says; nothing while it is off."""
        policy = self._switch.policy
        if policy is None:
            return ()
        return (say(GuardMessage.HEAD_DRY if policy.dry_run else GuardMessage.HEAD),)

    async def toggle(self) -> None:
        """Turn it on or off."""
        async with self._turning:
            try:
                if await self._switch.turn_off():
                    self._notify(say(GuardMessage.OFF))
                else:
                    policy = await self._switch.turn_on()
                    self._notify(say(GuardMessage.ON, policy=fmt.clean(policy.path)))
            except PytopError as error:
                self._failed(error)

    async def close(self) -> None:
        """Turn it off."""
        async with self._turning:
            await self._switch.turn_off()

    def _tell(self, event: GuardEvent) -> None:
        renewed = event.decision is not None and event.decision.action is GuardAction.RENEW
        if event.kind not in _QUIET and not (renewed and event.kind is not GuardEventKind.FAILED):
            self._notify(guard_text.line(event))

    def _ended(self, error: Exception) -> None:
        self._failed(
            error if isinstance(error, PytopError) else PytopError(say(Message.UNEXPECTED), detail=repr(error))
        )
