"""Reads and writes whole kernel files: one system call each, and every error names the path.

A buffered write reports EINVAL or EBUSY only at the implicit close, where it is easily lost; `os.write` reports it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from runtime.errors import DeniedError, KernelError, NotFoundError
from runtime.model import Missing

ROOT_HINT = "Run as root, or ask for the cgroup to be delegated to you"


def read(path: Path) -> str:
    """The text of a kernel file, stripped. Raises `NotFoundError`, `DeniedError` or `KernelError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            chunks = []
            while chunk := os.read(descriptor, 65536):
                chunks.append(chunk)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _wrapped(f"read {path.name}", error, path) from error
    return b"".join(chunks).decode(errors="surrogateescape").strip()


def try_read(path: Path) -> str | Missing:
    """The text of a kernel file, or the reason why it cannot be read."""
    try:
        return read(path)
    except NotFoundError as error:
        if error.errno == errno.ENODEV or not path.parent.is_dir():
            return Missing.GONE
        return Missing.UNSUPPORTED
    except DeniedError:
        return Missing.DENIED
    except KernelError:
        return Missing.UNSUPPORTED


def exists(path: Path) -> bool | Missing:
    """Whether a kernel file or directory is there; `Missing.DENIED` where a directory above it may not be searched.

    `Path.exists` raises there, and `os.path.exists` says that it is not there.
    """
    try:
        os.stat(path)
    except PermissionError:
        return Missing.DENIED
    except OSError:
        return False
    return True


def require_writable(path: Path) -> None:
    """Raise `DeniedError` or `NotFoundError` when a write would; called for all files before the first is written."""
    mode = os.F_OK if exists(path) is False else os.W_OK
    if not os.access(path, mode, effective_ids=True):
        number = errno.EACCES if mode == os.W_OK else errno.ENOENT
        raise _wrapped(f"write to {path.name}", OSError(number, os.strerror(number), str(path)), path)


def write(path: Path, text: str) -> None:
    """Write in one call. Raises `NotFoundError`, `DeniedError` or `KernelError` with the path and the errno."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode(errors="surrogateescape"))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _wrapped(f"write '{text}' to {path.name}", error, path) from error


def read_attribute(directory: Path, key: str) -> str | None:
    """An extended attribute of a kernel directory; None when it is not set or cannot be read."""
    try:
        return os.getxattr(directory, key).decode(errors="surrogateescape")
    except OSError:
        return None


def write_attribute(directory: Path, key: str, text: str | None) -> None:
    """Set an extended attribute of a kernel directory, or remove it (None). Raises as `write`.

    It is removed with the directory.
    """
    try:
        if text is not None:
            os.setxattr(directory, key, text.encode(errors="surrogateescape"))
        elif read_attribute(directory, key) is not None:
            os.removexattr(directory, key)
    except OSError as error:
        raise _wrapped(f"keep '{text}' as {key}", error, directory) from error


def _wrapped(title: str, error: OSError, path: Path) -> NotFoundError | DeniedError | KernelError:
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ESRCH):
        return NotFoundError.from_os(title, error, path=str(path))
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DeniedError.from_os(title, error, path=str(path), hint=ROOT_HINT)
    return KernelError.from_os(title, error, path=str(path))
