"""Turns a guard on and off in a session that is open, by a policy that the user has named."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from runtime.errors import InvalidError, PytopError
from runtime.kernel import threads
from tui.core.guard import policy_file
from tui.core.guard.guard import Guard, GuardedSession
from tui.core.guard.policy import Policy
from tui.core.guard.report import GuardEvent

log = logging.getLogger(__name__)


class GuardSwitch:
    """The guard of a dashboard, off at first."""

    def __init__(
        self,
        session: GuardedSession,
        path: Path | None,
        *,
        tell: Callable[[GuardEvent], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """`path` is that of the policy. `tell` gets its events, `failed` the error by which it ended by itself."""
        self._session = session
        self._path = path
        self._tell = tell
        self._failed = failed
        self._guard: Guard | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def policy(self) -> Policy | None:
        """By which it guards now; None while it is off."""
        return self._guard.policy if self._guard is not None else None

    async def turn_on(self) -> Policy:
        """Read the policy anew, and guard. Raises why it cannot: no policy, a wrong one, another guard."""
        if self._path is None:
            raise InvalidError(
                "start the guard",
                detail="there is no policy",
                hint='Name one: --guard POLICY.toml, or guard = "PATH" in config.toml',
            )
        if self._guard is not None:
            return self._guard.policy
        policy = await threads.waiting(policy_file.load, self._path)
        guard = Guard(self._session, policy, self._tell)
        await guard.acquire()
        self._guard = guard
        self._task = asyncio.create_task(guard.run(), name="guard")
        self._task.add_done_callback(partial(self._ended, guard))
        return policy

    async def turn_off(self) -> bool:
        """End it and take back what it holds; whether it was on."""
        guard, task = self._guard, self._task
        self._guard = self._task = None
        if guard is None or task is None:
            return False
        task.cancel()
        await asyncio.wait({task})
        await guard.release()
        return True

    def _ended(self, guard: Guard, task: asyncio.Task[None]) -> None:
        """It has ended: by `turn_off`, or by an error, after which what it holds runs out."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if self._guard is guard:
            self._guard = self._task = None
        if not isinstance(error, PytopError):
            log.error("the guard failed", exc_info=error)
        if isinstance(error, Exception):
            self._failed(error)
