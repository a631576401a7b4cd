"""What must not be frozen, limited or killed, because it holds the process that asks for it.

Frozen, this program cannot thaw what it has frozen; limited, it may be too slow or too short of memory to take the
limit back; stopped, killed or removed, it ends half-way. The same holds for what it was started from: a shell, a
terminal, a login. So all of that is refused, whichever engine would do it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from runtime.errors import RefusedError
from runtime.kernel import cgroups, procfs
from runtime.kernel.cgroupfs import Cgroup

HINT: Final = "Do it from outside of it"
_ID: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{32,64}(?![0-9a-f])")
_ENGINES_FILES: Final = frozenset({"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"})
"""Files that engines mount into a container from a directory called after its id."""


def protect_self(
    title: str, cgroup: Cgroup, pid: int | None = None, *, unknown_is_ours: bool = True, proc: Path = procfs.PROC
) -> None:
    """Raise `RefusedError` when process 1, this program or one of its ancestors is in the cgroup, or is `pid`.

    So too when nobody can tell which processes are in it, unless `unknown_is_ours` is false: an engine has made it as a
    container's own, and what runs in it could otherwise forbid that it is limited.
    """
    known = cgroups.known_pids(cgroup)
    if known is None:
        if unknown_is_ours:
            detail = "which processes are in its cgroup cannot be read: this program may be one"
            raise RefusedError(title, detail=detail)
        known = frozenset(cgroups.pids(cgroup))
    pids = known if pid is None else known | {pid}
    if 1 in pids:
        raise RefusedError(title, detail="process 1 of this machine runs in there")
    if any(ancestor in pids for ancestor in _ancestry(proc)):
        raise RefusedError(title, detail="this program runs in there, or what it was started from", hint=HINT)


def protect_process(title: str, pid: int, *, proc: Path = procfs.PROC) -> None:
    """Raise `RefusedError` when `pid` is process 1, this program or one of its ancestors."""
    if pid == 1:
        raise RefusedError(title, detail="it is process 1 of this machine")
    if pid in _ancestry(proc):
        raise RefusedError(title, detail="it is this program, or what it was started from", hint=HINT)


def protect_own_container(title: str, identity: str, *, proc: Path = procfs.PROC) -> None:
    """Raise `RefusedError` when this program runs in the container of this id, whose processes may not be visible here.

    In a PID namespace of its own it does not see the pids that the engine tells. Its cgroup's path, and the files that
    the engine has mounted for it, tell the id.
    """
    if identity in _own_ids(proc):
        raise RefusedError(title, detail="this program runs in there", hint=HINT)


def _own_ids(proc: Path) -> frozenset[str]:
    """The ids after which this process's cgroups, and the sources of the files that engines mount, are called."""
    paths: list[str] = []
    try:
        paths += (proc / "self/cgroup").read_text(errors="surrogateescape").splitlines()
        mounts = (proc / "self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        mounts = ""
    paths += [mount.root for mount in procfs.parse_mountinfo(mounts) if mount.target in _ENGINES_FILES]
    return frozenset(found for path in paths for found in _ID.findall(path))


def _ancestry(proc: Path) -> Iterator[int]:
    """This process and its ancestors: a shell, a terminal, a login."""
    pid = os.getpid()
    while pid > 0:
        yield pid
        pid = procfs.parent(pid, proc=proc)
