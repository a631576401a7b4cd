"""Opens a file that nobody else can write or replace, so that what it says is its owner's word.

The path is walked from the root by descriptors, without symbolic links: each directory on the way and the file itself
belong to root or to the caller, and neither group nor others may write there. In a directory with the sticky bit they
may add entries, and replace only their own; so it counts. An access control list that lets others write shows in the
group bits of the mode. Source: path_resolution(7), inode(7), acl(5).
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from runtime.errors import DeniedError, InvalidError, PytopError
from runtime.kernel import regular_file

_ROOT_UID: Final = 0
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def read(path: str | Path, *, limit: int, title: str) -> bytes:
    """The content of a regular file of at most `limit` bytes. `title` is that of an error: what was tried.

    Raises `DeniedError` when somebody else may write it, `InvalidError` when it is no regular file, larger, or reached
    by a symbolic link, `PytopError` when it cannot be opened.
    """
    absolute = os.path.join(os.getcwd(), path)
    owners = frozenset({_ROOT_UID, os.geteuid()})
    descriptor = _open(absolute, owners, title)
    try:
        return regular_file.read_descriptor(descriptor, absolute, limit=limit, owners=owners)
    finally:
        os.close(descriptor)


def why_not_trusted(status: os.stat_result, owners: frozenset[int]) -> str:
    """Why what has this status is not only the owners' to write, in words; "" when it is."""
    if status.st_uid not in owners:
        return f"it belongs to user {status.st_uid}"
    sticky = stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_ISVTX)
    if status.st_mode & _OTHERS_WRITE and not sticky:
        return f"others may write there (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""


def _open(path: str, owners: frozenset[int], title: str) -> int:
    """A descriptor (O_PATH) of the file, after everything on the way was checked by its own descriptor."""
    current = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    walked = "/"
    try:
        _require_trusted(current, walked, owners, title)
        for part in filter(None, path.split("/")):
            following = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current, walked = following, f"{walked.rstrip('/')}/{part}"
            _require_trusted(current, walked, owners, title)
    except (OSError, ValueError) as error:
        os.close(current)
        number = error.errno if isinstance(error, OSError) else errno.EINVAL
        raise PytopError.from_os(title, OSError(number, str(error)), path=path) from error
    except PytopError:
        os.close(current)
        raise
    return current


def _require_trusted(descriptor: int, path: str, owners: frozenset[int], title: str) -> None:
    status = os.fstat(descriptor)
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink("", dir_fd=descriptor)
        hint = "Give the path without symbolic links, as `realpath` prints it"
        raise InvalidError(title, detail=f"it is a symbolic link to {target}", hint=hint, path=path)
    reason = why_not_trusted(status, owners)
    if reason:
        hint = "It must belong to root or to you, and neither group nor others may write it (chmod go-w)"
        raise DeniedError(title, detail=reason, hint=hint, path=path)
