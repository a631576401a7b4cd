"""One change of a container's limits at a time on this machine, across all processes of this program.

A change by an engine's daemon is completed by our own writes and then read back; two at once would mix, or leave a
record that differs from the kernel. The lock is flock(2) on the cgroup's directory: it needs no write access and
leaves no file behind.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from runtime.errors import ConflictError
from runtime.kernel import threads
from runtime.kernel.cgroupfs import Cgroup

LOCK_TIMEOUT_S: Final = 30.0
_RETRY_INTERVAL_S: Final = 0.01


@asynccontextmanager
async def change_lock(
    what: Cgroup | Path | None, title: str, *, timeout_s: float = LOCK_TIMEOUT_S
) -> AsyncIterator[None]:
    """Hold the lock of a container by its cgroup, or by another directory where it has none.

    Raises `ConflictError` when another process still holds it after `timeout_s` seconds.
    """
    directory = _own(what) if isinstance(what, Cgroup) else what
    held = await threads.acquiring(lambda: _open(directory), _close) if directory is not None else None
    if held is None:
        yield
        return
    try:
        deadline = time.monotonic() + timeout_s
        while not _taken(held):
            if time.monotonic() > deadline:
                raise ConflictError(title, detail="another client is changing it", hint="Try again when it is done")
            await asyncio.sleep(_RETRY_INTERVAL_S)
        yield
    finally:
        os.close(held)


def _own(cgroup: Cgroup) -> Path | None:
    """The deepest of its directories: in a hierarchy without a cgroup of its own, others share the directory."""
    return max(cgroup.directories, key=lambda path: (len(path.parts), str(path)), default=None)


def _open(directory: Path) -> int | None:
    try:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # it has ended, which the change itself will find out
        return None


def _close(held: int | None) -> None:
    if held is not None:
        os.close(held)


def _taken(held: int) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
