"""The shim's loop while the container runs: output from the pipes into the log, no faster than `log_rate` allows."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Final

from runtime.engines.embedded.process.log_writer import LogWriter

LIMITED_HOLD_S: Final = 5.0
"""A container counts as held back until its pipe was not full for this long."""
_LOOK_INTERVAL_S: Final = 0.1
"""How often a pause looks whether the program has ended: then the rest of its output is not held back."""


class LogPump:
    """Writes a container's output until its init has ended.

    `limited` is called when the container begins and ceases to wait at its pipe; `over` says whether its program has
    ended, so that init only waits for the rest of the output to be written.
    """

    def __init__(self, writer: LogWriter, *, limited: Callable[[bool], None], over: Callable[[], bool]) -> None:
        self._writer = writer
        self._tell_limited = limited
        self._over = over
        self._limited_until: float | None = None

    def run(self, pidfd: int) -> None:
        """Until the process of `pidfd` has ended."""
        names = {fd: stream for stream, fd in self._writer.pipes.items()}
        ready, ended = select.poll(), select.poll()
        for fd in (pidfd, *names):
            ready.register(fd, select.POLLIN)
        ended.register(pidfd, select.POLLIN)
        while True:
            pause_s = self._writer.rate.pause_s()
            if pause_s and self._pause(ended, pause_s):
                break
            events = ready.poll(self._until_released_ms())
            self._release()
            for fd, _ in events:
                if fd in names:
                    self._writer.pump(names[fd])
            if any(fd == pidfd for fd, _ in events):
                break
        self._limited_until = None

    def _pause(self, ended: select.poll, pause_s: float) -> bool:
        """Leave the output in the pipe; True when init has ended meanwhile."""
        begun = time.monotonic()
        while (left := begun + pause_s - time.monotonic()) > 0 and not self._over():
            if ended.poll(min(left, _LOOK_INTERVAL_S) * 1000):
                return True
        if not self._over() and self._writer.is_full():
            self._writer.note_wait(time.monotonic() - begun)
            if self._limited_until is None:
                self._tell_limited(True)
            self._limited_until = time.monotonic() + LIMITED_HOLD_S
        return False

    def _until_released_ms(self) -> float | None:
        """For poll: until the container counts as held back no longer."""
        return None if self._limited_until is None else max(0.0, self._limited_until - time.monotonic()) * 1000

    def _release(self) -> None:
        if self._limited_until is not None and time.monotonic() >= self._limited_until:
            self._limited_until = None
            self._tell_limited(False)
