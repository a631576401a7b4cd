"""Reading a file that somebody else has named or made: a regular file of an expected owner, and not more than so much.

A FIFO would hang the reader, /dev/zero would fill its memory, and opening some devices does something. So the path is
opened without access (O_PATH) first, and opened for reading only when that descriptor is what it should be.
Source: open(2), O_PATH; proc_pid_fd(5).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

from runtime.errors import DeniedError, InvalidError, PytopError

_CHUNK = 1 << 20  # bytes


def read(path: str | Path, *, limit: int, owners: Collection[int] | None = None) -> bytes:
    """The whole file. `limit` is in bytes; `owners` are the uids of whom one must own it, None for anybody.

    The last part of the path must not be a symbolic link. Raises `InvalidError` for what is no regular file or is
    larger, `DeniedError` for another owner, `PytopError` for what cannot be opened or read.
    """
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _wrapped(error, path) from error
    try:
        return read_descriptor(descriptor, path, limit=limit, owners=owners)
    finally:
        os.close(descriptor)


def read_descriptor(descriptor: int, path: str | Path, *, limit: int, owners: Collection[int] | None = None) -> bytes:
    """As `read`, of a file that is open in any way, O_PATH too; `path` is for errors."""
    title = f"read {Path(path).name}"
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise InvalidError(title, detail="it is no regular file", path=str(path))
    if owners is not None and found.st_uid not in owners:
        raise DeniedError(title, detail=f"it belongs to user {found.st_uid}", path=str(path))
    try:
        readable = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return _bounded(readable, title, path, limit)
        finally:
            os.close(readable)
    except OSError as error:
        raise _wrapped(error, path) from error


def _bounded(readable: int, title: str, path: str | Path, limit: int) -> bytes:
    found = bytearray()
    while len(found) <= limit:
        chunk = os.read(readable, min(_CHUNK, limit + 1 - len(found)))
        if not chunk:
            return bytes(found)
        found += chunk
    raise InvalidError(title, detail=f"it is larger than {limit} bytes", path=str(path))


def _wrapped(error: OSError | ValueError, path: str | Path) -> PytopError:
    title = f"read {Path(path).name}"
    if isinstance(error, OSError):
        return PytopError.from_os(title, error, path=str(path))
    return InvalidError(title, detail=str(error))  # a NUL in the path
