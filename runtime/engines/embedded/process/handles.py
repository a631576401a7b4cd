"""How a container's own processes are reached from outside: its init by descriptor, its shim by signal."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from runtime.engines.embedded.state.record import ContainerRecord
from runtime.errors import PytopError
from runtime.kernel import procfs

WAKE: Final = signal.SIGUSR1
"""Tells a shim that waits before a restart to read its record again."""


SHIM_NAME: Final = "pytop-shim"
"""Name of a shim's process."""


def has_shim(live: Path) -> bool:
    """Whether the process that has written its pid into the shim's lock file lives and is a shim.

    The lock alone does not tell: who looks at a container holds it for a moment too.
    """
    fd = _open_shim(live)
    if fd is not None:
        os.close(fd)
    return fd is not None


def await_shim(live: Path, timeout: float) -> None:
    """Wait until a container's shim has ended, at most `timeout` seconds; its lock is released then. Blocking."""
    fd = _open_shim(live)
    if fd is not None:
        procfs.await_end(fd, timeout)
        os.close(fd)


def _open_shim(live: Path) -> int | None:
    """A descriptor of a container's shim, None when there is none."""
    try:
        pid = int((live / "shim.lock").read_text().split()[0])
        fd = os.pidfd_open(pid)
    except (OSError, ValueError, IndexError):
        return None
    with suppress(OSError):
        name = (procfs.PROC / str(pid) / "comm").read_text().strip()
        if name == SHIM_NAME and not procfs.await_end(fd, 0):
            return fd
    os.close(fd)
    return None


def open_init(record: ContainerRecord) -> int | None:
    """A descriptor of the container's init, None when it is gone (or this is another boot, or another process)."""
    if record.pid is None or record.boot_id != procfs.boot_id():
        return None
    try:
        fd = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return None
    try:
        same = procfs.start_time(record.pid) == record.pid_start
    except PytopError:
        os.close(fd)
        raise
    if not same:
        os.close(fd)
        return None
    return fd
