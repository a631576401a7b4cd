"""What must not be frozen, limited or killed, because whoever asks for it would be hit by it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from runtime.discovered import process
from runtime.errors import RefusedError
from runtime.kernel import cgroups, procfs
from runtime.kernel.cgroupfs import Cgroup


def keep_off(title: str, cgroup: Cgroup) -> None:
    """Raise `RefusedError` for a cgroup in which process 1, this program or what started it lives."""
    inside = set(cgroups.pids(cgroup))
    if 1 in inside:
        raise RefusedError(title, detail="process 1 of this machine runs in there")
    if not inside.isdisjoint(ancestry()):
        raise RefusedError(title, detail="this program runs in there, or what it was started from")


def ancestry(proc: Path = procfs.PROC) -> Iterator[int]:
    """This process and those above it: a shell, a terminal, a login."""
    pid = os.getpid()
    while pid > 0:
        yield pid
        pid = process.parent(pid, proc)
