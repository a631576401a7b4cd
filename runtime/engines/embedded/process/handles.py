"""How a container's own processes are reached from outside: its init by descriptor, its shim by signal."""

from __future__ import annotations

import os
import signal
from typing import Final

from runtime.engines.embedded.state.record import ContainerRecord
from runtime.errors import PytopError
from runtime.kernel import procfs

WAKE: Final = signal.SIGUSR1
"""Tells a shim that waits before a restart to read its record again."""


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
