"""What must not be frozen, limited or killed, because it holds the process that asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import RefusedError
from runtime.kernel import cgroups, procfs
from runtime.kernel.cgroupfs import Cgroup


def protect_self(title: str, cgroup: Cgroup, pid: int | None = None, *, proc: Path = procfs.PROC) -> None:
    """Raise `RefusedError` when process 1, this program or one of its ancestors is in the cgroup, or is `pid`.

    So too when nobody can tell which processes are in it.
    """
    known = cgroups.known_pids(cgroup)
    if known is None:
        raise RefusedError(title, detail="which processes are in its cgroup cannot be read: this program may be one")
    pids = known if pid is None else known | {pid}
    if 1 in pids:
        raise RefusedError(title, detail="process 1 of this machine runs in there")
    if any(ancestor in pids for ancestor in _ancestry(proc)):
        raise RefusedError(title, detail="this program runs in there, or what it was started from")


def _ancestry(proc: Path) -> Iterator[int]:
    """This process and its ancestors: a shell, a terminal, a login."""
    pid = os.getpid()
    while pid > 0:
        yield pid
        pid = procfs.parent(pid, proc=proc)
