"""Opens paths below a directory whose contents are untrusted, such as the root of an image.

Every path is resolved by openat2(2) with RESOLVE_IN_ROOT: symlinks and ".." cannot lead outside the directory, and
magic links (/proc/self/fd/7) are refused. Descriptors are close-on-exec.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from runtime.errors import InvalidError
from runtime.kernel import syscalls

_IN_ROOT: Final = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_NO_SYMLINKS: Final = _IN_ROOT | syscalls.RESOLVE_NO_SYMLINKS


def open_inside(root: int, path: str, flags: int) -> int:
    """Open a path below the directory `root`; symlinks are resolved as if it were "/"."""
    return syscalls.openat2(root, path, flags, _IN_ROOT)


def open_in_root(path: str, flags: int) -> int:
    """As `open_inside`, below this process's own root directory."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_inside(root, path, flags)
    finally:
        os.close(root)


def open_without_symlinks(root: int, path: str, flags: int) -> int:
    """Open a path below the directory `root`; any symlink in it is an `OSError` (ELOOP)."""
    return syscalls.openat2(root, path, flags, _NO_SYMLINKS)


class BarredDeviceError(PermissionError):
    """A missing directory would have to be created on a file system where that is forbidden."""


def make_directories(root: int, path: str, barred: frozenset[int] = frozenset()) -> int:
    """Open a directory below `root` (O_PATH), creating missing ones.

    Raises `InvalidError` for "..", `BarredDeviceError` when one is missing on a device in `barred` (st_dev).
    """
    current = os.dup(root)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidError(f"{path!r} has a '..' in it", hint="give the path without it")
    for index in range(len(parts)):
        prefix = "/".join(parts[: index + 1])
        try:
            following = open_inside(root, prefix, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            if os.fstat(current).st_dev in barred:
                raise BarredDeviceError(errno.EPERM, "no directory is made on this file system", path) from None
            parent = open_inside(current, ".", os.O_RDONLY | os.O_DIRECTORY)
            os.mkdir(parts[index], 0o755, dir_fd=parent)
            os.close(parent)
            following = open_inside(root, prefix, os.O_PATH | os.O_DIRECTORY)
        os.close(current)
        current = following
    return current
