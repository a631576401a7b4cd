"""Which file system a path is on, and errors of a file system that accepts no writes.

Source: proc_pid_mountinfo(5), write(2), rename(2).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from runtime.errors import KernelError, PytopError
from runtime.kernel.procfs import parse_mountinfo

_MOUNTINFO: Final = Path("/proc/self/mountinfo")
REFUSALS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""Errno values of a file system that accepts no writes: full, over quota, read-only, I/O error."""
_WITHOUT_DEVICE: Final = frozenset(
    (
        *("tmpfs", "ramfs", "devtmpfs", "rootfs"),
        *("nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "virtiofs"),
    )
)
"""Types of file systems in memory or on another machine: no block device of this one is below."""


def mount_point(path: Path, mountinfo: Path = _MOUNTINFO) -> Path:
    """Where the file system of `path` is mounted; the path need not exist. "/" when mountinfo cannot be read."""
    return _mount(Path(os.path.realpath(path)), mountinfo)[0]


def on_block_device(path: Path, mountinfo: Path = _MOUNTINFO) -> bool:
    """Whether what is written to `path` reaches a block device of this machine.

    The path has no symbolic links and need not exist; it is not looked at, as a server that is away would block that.
    """
    return _mount(path, mountinfo)[1] not in _WITHOUT_DEVICE


def _mount(wanted: Path, mountinfo: Path) -> tuple[Path, str]:
    """Mount point and type of the file system of a real path; "/" and "" when mountinfo cannot be read."""
    found = Path("/"), ""
    try:
        text = mountinfo.read_text(errors="surrogateescape")
    except OSError:
        return found
    for entry in parse_mountinfo(text):
        mount = Path(entry.target)
        if wanted.is_relative_to(mount) and len(mount.parts) >= len(found[0].parts):
            found = mount, entry.fstype
    return found


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an `OSError` that names no file (a call by descriptor, mkfifo) the name of `path`, and so the right disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def refuses(error: BaseException) -> bool:
    """Whether an error means that a file system accepts no writes."""
    return isinstance(error, OSError | PytopError) and error.errno in REFUSALS


def refused(title: str, error: OSError, path: Path) -> KernelError:
    """The error for a write to `path` that its file system refused: with the mount point and what to do."""
    mount = mount_point(path)
    if error.errno == errno.EROFS:
        hint = f"Make it writable again: mount -o remount,rw {mount}"
    elif error.errno == errno.EIO:
        hint = f"Look in the kernel's log (dmesg) for what is wrong with the disk of {mount}"
    else:
        hint = f"Free space or inodes there: df -h {mount}; df -i {mount}"
    said = KernelError.from_os(title, error, hint=hint, path=str(path))
    said.detail += f" on the file system at {mount}"
    return said
