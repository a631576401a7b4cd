"""Reads untrusted files: only a regular file of an expected owner, and at most a given number of bytes.

Reading a FIFO would block, /dev/zero would fill the memory, and opening some devices has side effects. So the path is
opened without access (O_PATH) first, and for reading only after type and owner were checked by that descriptor.
Source: open(2), O_PATH; proc_pid_fd(5).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

from runtime.errors import DeniedError, InvalidError, PytopError

_CHUNK_BYTES = 1 << 20


def read(path: str | Path, *, limit: int, owners: Collection[int] | None = None) -> bytes:
    """The content of a file of at most `limit` bytes; its owner must be one of `owners` (uids; None for any).

    The last part of the path must not be a symbolic link. Raises `InvalidError` when it is no regular file or larger,
    `DeniedError` for another owner, `PytopError` when it cannot be opened or read.
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
    data = read_start(descriptor, path, limit=limit, owners=owners)
    if len(data) > limit:
        title = f"read {Path(path).name}"
        raise InvalidError(title, detail=f"it is larger than {limit} bytes", path=str(path))
    return data


def read_start(descriptor: int, path: str | Path, *, limit: int, owners: Collection[int] | None = None) -> bytes:
    """As `read_descriptor`; of a larger file `limit` + 1 bytes instead of an error."""
    title = f"read {Path(path).name}"
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise InvalidError(title, detail="it is no regular file", path=str(path))
    if owners is not None and status.st_uid not in owners:
        raise DeniedError(title, detail=f"it belongs to user {status.st_uid}", path=str(path))
    try:
        readable = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return _bounded(readable, limit)
        finally:
            os.close(readable)
    except OSError as error:
        raise _wrapped(error, path) from error


def _bounded(readable: int, limit: int) -> bytes:
    found = bytearray()
    while len(found) <= limit and (chunk := os.read(readable, min(_CHUNK_BYTES, limit + 1 - len(found)))):
        found += chunk
    return bytes(found)


def _wrapped(error: OSError | ValueError, path: str | Path) -> PytopError:
    title = f"read {Path(path).name}"
    if isinstance(error, OSError):
        return PytopError.from_os(title, error, path=str(path))
    return InvalidError(title, detail=str(error))  # a NUL in the path
