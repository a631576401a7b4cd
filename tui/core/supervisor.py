"""Keeps an unexpected exception in one part of the session from ending another part.

A task that fails is started again, a callback that fails loses that call. Both are logged with their traceback and
are a problem that the user sees until the part has worked again for `QUIET_S`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec

from tui.core.problem import Problem, ProblemKind

log = logging.getLogger(__name__)

P = ParamSpec("P")

FIRST_PAUSE_S: Final = 0.5  # before a failed task is started again; doubled up to LAST_PAUSE_S
LAST_PAUSE_S: Final = 30.0
QUIET_S: Final = 10.0  # without a failure, after which a problem is dropped


class Supervisor:
    """Runs tasks and calls callbacks; what they raise stays here."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is called on the event loop when a problem came or went."""
        self._changed = changed
        self._tasks: list[asyncio.Task[None]] = []
        self._problems: dict[str, Problem] = {}
        self._failed_at: dict[str, float] = {}  # by name, on the loop's clock: the last failure

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What has failed lately, one of a name."""
        return tuple(self._problems.values())

    def spawn(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run it until `close`; after a failure it is called anew."""
        self._tasks.append(asyncio.create_task(self._keep(name, run), name=name))

    async def close(self) -> None:
        """Cancel every task and wait for its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def call(self, name: str, callback: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call it now; a failure is logged and becomes a problem."""
        try:
            callback(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - logged in _failed; the caller and whoever is called next go on
            self._failed(name, error)
            asyncio.get_running_loop().call_later(QUIET_S, self._settle, name)

    async def _keep(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        while True:
            begun = loop.time()
            settled = loop.call_later(QUIET_S, self._settle, name)
            try:
                await run()
                return
            except Exception as error:  # noqa: BLE001 - logged in _failed; it is started again
                self._failed(name, error)
            finally:
                settled.cancel()
            if loop.time() - begun >= QUIET_S:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    def _failed(self, name: str, error: Exception) -> None:
        log.error("%s failed", name, exc_info=error)
        self._failed_at[name] = asyncio.get_running_loop().time()
        if name not in self._problems:
            self._problems[name] = Problem(ProblemKind.PART, subject=name, cause=repr(error))
            self._changed()

    def _settle(self, name: str) -> None:
        """Drop the problem of this name unless it is younger than `QUIET_S`."""
        now = asyncio.get_running_loop().time()
        if name in self._problems and now - self._failed_at[name] >= QUIET_S:
            del self._problems[name], self._failed_at[name]
            self._changed()
