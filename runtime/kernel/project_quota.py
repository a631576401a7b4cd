"""Project quotas: a bound in bytes for everything below a directory, held by its file system (ext4, XFS).

A directory has the id of a project, which whatever is made in it inherits; the limit belongs to the id. Only a file
system that is mounted with `prjquota` holds it. Source: quotactl_fd(2) (kernel 5.14), linux/quota.h, linux/fs.h
(FS_IOC_FSSETXATTR), XFS's and ext4's documentation.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.kernel import filesystems, syscalls
from runtime.kernel.procfs import parse_mountinfo

_PROJECT: Final = 2  # PRJQUOTA
_Q_GETINFO, _Q_GETQUOTA, _Q_SETQUOTA = (command << 8 | _PROJECT for command in (0x800005, 0x800007, 0x800008))
_QIF_BLIMITS: Final = 1
_BLOCK_BYTES: Final = 1024
_DQBLK: Final = "=8QI4x"
"""struct if_dqblk: hard and soft limit in blocks, bytes used, the same for inodes, two times, what of it is valid."""
_FS_IOC_FSGETXATTR, _FS_IOC_FSSETXATTR = 0x801C581F, 0x401C5820
_FSXATTR: Final = "=5I8s"
"""struct fsxattr: flags, extent size, number of extents, project, extent size of copies."""
_FS_XFLAG_PROJINHERIT: Final = 0x200
_OPTIONS: Final = frozenset({"prjquota", "pquota"})
FIRST_PROJECT: Final = 0x4000_0000
"""Ids from here on, below 2^31, are tried: those of administrators (/etc/projid) are small numbers."""
_MAX_ATTEMPTS: Final = 16


@dataclass(frozen=True, slots=True)
class ProjectUse:
    """Bytes that a project may have and has; 0 is no limit."""

    limit: int
    used: int


def enforced(directory: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether the directory's file system holds project quotas. The directory may not exist yet."""
    try:
        text = mountinfo.read_text(errors="surrogateescape")
    except OSError:
        return False
    place = filesystems.mount_point(directory, mountinfo)
    mounts = [entry for entry in parse_mountinfo(text) if Path(entry.target) == place]
    if not mounts or not _OPTIONS & set(mounts[-1].super_options.split(",")):
        return False
    try:
        with _opened(place) as fd:
            syscalls.quotactl(fd, _Q_GETINFO, 0, bytearray(256))
    except OSError:
        return False
    return True


def bound(directories: tuple[Path, ...], limit: int, seed: int) -> int:
    """Give empty directories of one file system a project of their own with a limit in bytes; returns its id.

    The id follows from `seed`; one that is in use is passed over. Raises `OSError`.
    """
    with _opened(directories[0]) as fd:
        for attempt in range(_MAX_ATTEMPTS):
            project = FIRST_PROJECT + (seed + attempt) % FIRST_PROJECT
            if _use(fd, project) == ProjectUse(0, 0):
                break
        else:
            raise OSError(errno.EBUSY, "no project id is free", str(directories[0]))
        _limit(fd, project, limit)
    for directory in directories:
        with _opened(directory) as fd:
            attributes = bytearray(fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, bytes(struct.calcsize(_FSXATTR))))
            flags, extent, extents, _, copies, rest = struct.unpack(_FSXATTR, attributes)
            changed = struct.pack(_FSXATTR, flags | _FS_XFLAG_PROJINHERIT, extent, extents, project, copies, rest)
            fcntl.ioctl(fd, _FS_IOC_FSSETXATTR, changed)
    return project


def project_of(directory: Path) -> int:
    """The directory's project; 0 is none. Raises `OSError`."""
    with _opened(directory) as fd:
        return int(struct.unpack(_FSXATTR, fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, bytes(struct.calcsize(_FSXATTR))))[3])


def use(directory: Path) -> ProjectUse:
    """What the directory's project may have and has. Raises `OSError`."""
    project = project_of(directory)
    with _opened(directory) as fd:
        return _use(fd, project)


def lift(directory: Path) -> None:
    """Remove the limit of the directory's project, if that is one of `bound`. Raises `OSError`."""
    project = project_of(directory)
    if project >= FIRST_PROJECT:
        with _opened(directory) as fd:
            _limit(fd, project, 0)


def _use(fd: int, project: int) -> ProjectUse:
    buffer = bytearray(struct.calcsize(_DQBLK))
    try:
        syscalls.quotactl(fd, _Q_GETQUOTA, project, buffer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH):  # XFS: nobody has used this id
            return ProjectUse(0, 0)
        raise
    hard, _, used, *_ = struct.unpack(_DQBLK, buffer)
    return ProjectUse(hard * _BLOCK_BYTES, used)


def _limit(fd: int, project: int, limit: int) -> None:
    blocks = -(-limit // _BLOCK_BYTES)
    buffer = bytearray(struct.pack(_DQBLK, blocks, blocks, 0, 0, 0, 0, 0, 0, _QIF_BLIMITS))
    syscalls.quotactl(fd, _Q_SETQUOTA, project, buffer)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with filesystems.naming(directory):
            yield fd
    finally:
        os.close(fd)
