"""The v2 tree as seen in a container: its top is an ordinary cgroup, not the root cgroup.

Such a cgroup gives no controller to its children while it has processes (the "no internal process" rule). When it is
our own cgroup, its processes can be moved into a leaf below it, as docker:dind does (decision 0011). Enabling is not
tried first: the kernel lets cpu and pids be enabled beside processes, and then accepts no process in the children.
Source: cgroup-v2.rst, "No Internal Process Constraint" and "Threads"; kernel/cgroup/cgroup.c,
cgroup_vet_subtree_control_enable().
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from runtime.errors import ConflictError, DeniedError, KernelError, NotFoundError
from runtime.kernel import files
from runtime.kernel.cgroupfs import Hierarchies, parse_proc_cgroup
from runtime.kernel.procfs import PROC

LEAF_NAME: Final = "pytop-leaf"
MOVE_TIMEOUT_S: Final = 2.0  # processes that are forked meanwhile are moved in the next pass


def has_processes(directory: Path) -> bool:
    """Whether its processes prevent giving controllers to its children; in the real root (no cgroup.type) none do."""
    return files.exists(directory / "cgroup.type") is True and bool(_members(directory))


def why_no_controllers(hierarchies: Hierarchies, *, proc: Path = PROC) -> str | None:
    """Why no more controllers can be enabled at the top of the tree, even after `move_to_leaf`; None when they can."""
    if hierarchies.unified is None:
        return None
    top = hierarchies.unified.path
    kind = files.try_read(top / "cgroup.type")
    if not isinstance(kind, str):
        return None
    if kind != "domain":
        return f"the cgroup at the top of this part of the tree is of the type '{kind}'"
    has = "the cgroup at the top of this part of the tree has processes"
    if 0 in _members(top):
        return f"{has} of another PID namespace, which cannot be moved from here"
    if _members(top) and own_directory(hierarchies, proc=proc) != top:
        return f"{has}, and it is not our own"
    return None


def own_directory(hierarchies: Hierarchies, *, proc: Path = PROC) -> Path | None:
    """The directory of the v2 cgroup that this process is in; None when it is outside the mounted part of the tree."""
    text = files.try_read(proc / "self/cgroup")
    _, path = parse_proc_cgroup(text) if isinstance(text, str) else ({}, None)
    return hierarchies.unified.of(path) if hierarchies.unified is not None and path is not None else None


def move_to_leaf(directory: Path) -> None:
    """Move every process of this process's own cgroup, itself included, into a leaf below it.

    Raises `DeniedError` or `KernelError` for what the kernel refuses, `ConflictError` when processes are left after
    `MOVE_TIMEOUT_S`.
    """
    title = f"move the processes of our own cgroup into its leaf {LEAF_NAME}"
    try:
        (directory / LEAF_NAME).mkdir(exist_ok=True)
    except PermissionError as error:
        raise DeniedError.from_os(title, error, hint=files.ROOT_HINT) from error
    except OSError as error:
        raise KernelError.from_os(title, error) from error
    deadline = time.monotonic() + MOVE_TIMEOUT_S
    while members := _members(directory):
        if time.monotonic() > deadline:
            raise ConflictError(title, detail=f"{len(members)} are left in it", path=str(directory))
        for pid in members:
            with suppress(NotFoundError):  # the process has ended
                files.write(directory / LEAF_NAME / "cgroup.procs", str(pid))


def _members(directory: Path) -> list[int]:
    """The pids in this cgroup itself; 0 stands in for a process outside this process's PID namespace."""
    text = files.try_read(directory / "cgroup.procs")
    return [int(word) for word in text.split()] if isinstance(text, str) else []
