"""A cgroup for processes of this program that outlive it, in every hierarchy.

In the caller's cgroup they would end with the caller's session or unit: systemd kills what is left in a unit's cgroup,
which it knows by its own named v1 hierarchy or by the unified tree. It is a leaf, since on v2 a cgroup that gives
controllers to others may have no processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import PytopError
from runtime.kernel import cgroups, files, syscalls
from runtime.kernel.cgroupfs import Hierarchies


def fork_into(hierarchies: Hierarchies, path: str) -> tuple[int, tuple[str, ...]]:
    """Fork this process of one thread into the cgroup, which is made. Returns the pid as os.fork() does.

    In the child also what could not be done, with the reason: there it stays in the caller's cgroup.
    """
    failed: list[str] = []
    born_in: int | None = None
    try:
        cgroups.create(hierarchies, path)
        if hierarchies.unified is not None:
            unified = hierarchies.unified.path / path
            born_in = os.open(unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, PytopError) as error:
        failed.append(f"a cgroup of its own: {error}")
    try:
        pid = syscalls.clone(0, born_in)
    except OSError as error:
        failed.append(f"a cgroup of its own: {error.strerror}")
        pid = os.fork()
    if born_in is not None:
        os.close(born_in)
    return pid, (*failed, *_enter_v1(hierarchies, path)) if pid == 0 else ()


def _enter_v1(hierarchies: Hierarchies, path: str) -> Iterator[str]:
    """Move this one thread by the file `tasks`: a write to cgroup.procs would wait for an RCU grace period."""
    for directory in v1_directories(hierarchies, path):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            files.write(directory / "tasks", "0")
        except (OSError, PytopError) as error:
            yield f"a cgroup of its own: {error}"


def v1_directories(hierarchies: Hierarchies, path: str) -> list[Path]:
    """Of this cgroup in every v1 hierarchy, with or without a controller."""
    mounts = dict.fromkeys((*hierarchies.v1.values(), *hierarchies.others))
    return [mount.path / path for mount in mounts]
