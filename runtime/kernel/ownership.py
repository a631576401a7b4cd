"""Whether processes and cgroups belong to a user, according to the kernel.

A user's processes have the user's uid, or live in a user namespace which that user has made: there they have the
user's subordinate ids. A user's cgroup was made by that user (a service manager of the user's, or an engine in a
delegated cgroup), or is below the user's slice, and has no process of another user.
Source: ioctl_ns(2), systemd's user-UID.slice, cgroup-v2.rst "Delegation".
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Final

from runtime.kernel import cgroups, procfs
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mount

_NS_GET_PARENT: Final = 0xB702
_NS_GET_OWNER_UID: Final = 0xB704
_MAX_NESTED_NAMESPACES: Final = 32  # the kernel's limit for user namespaces
_ROOT_UID: Final = 0


def is_process_of(uid: int, pid: int, *, proc: Path = procfs.PROC) -> bool:
    """Whether the process belongs to the user; False also when it has ended or may not be inspected."""
    uids = procfs.uids(pid, proc=proc)
    if not uids or _ROOT_UID in uids:
        return False
    return uids == {uid} or _lives_below(uid, pid, proc)


def is_cgroup_of(uid: int, cgroup: Cgroup, hierarchies: Hierarchies, *, proc: Path = procfs.PROC) -> bool:
    """Whether the cgroup's directories and all processes in it and below belong to the user. Blocking."""
    directories = [(hierarchies.v1.get(name), path) for name, path in cgroup.v1.items()]
    if cgroup.unified is not None:
        directories.append((hierarchies.unified, cgroup.unified))
    if not directories or not all(_is_directory_of(uid, path, mount) for mount, path in directories):
        return False
    return all(is_process_of(uid, pid, proc=proc) or not _is_there(pid, proc) for pid in cgroups.pids(cgroup))


def _is_directory_of(uid: int, directory: Path, mount: Mount | None) -> bool:
    try:
        if os.stat(directory).st_uid == uid:
            return True
    except OSError:
        return False
    if mount is None:
        return False
    path = f"{mount.root.rstrip('/')}/{os.path.relpath(directory, mount.path)}"
    return path.startswith(f"/user.slice/user-{uid}.slice/")


def _is_there(pid: int, proc: Path) -> bool:
    return procfs.state(pid, proc=proc) is not None


def _lives_below(uid: int, pid: int, proc: Path) -> bool:
    """Whether the user created the process's user namespace or one of its ancestors."""
    try:
        descriptor = os.open(proc / str(pid) / "ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        for _ in range(_MAX_NESTED_NAMESPACES):
            (owner,) = struct.unpack("I", fcntl.ioctl(descriptor, _NS_GET_OWNER_UID, b"\0" * 4))
            if owner == uid:
                return True
            above = fcntl.ioctl(descriptor, _NS_GET_PARENT)
            os.close(descriptor)
            descriptor = above
    except OSError:  # the parent namespace is outside the visible ones
        return False
    finally:
        os.close(descriptor)
    return False
