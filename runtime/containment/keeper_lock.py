"""The lock that makes one keeper a user's only one: held as long as it lives, released by the kernel.

Source: fcntl_locking(2), open file description locks.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from typing import Final

from runtime.kernel import run_directory

NAME: Final = "keeper"
_FLOCK: Final = struct.Struct("hhqqi0q")  # struct flock of fcntl(2): type, whence, start, length, pid
_WHOLE: Final = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


def try_take() -> int | None:
    """A descriptor that holds the lock until it is closed; None while another keeper has it. Raises `OSError`."""
    descriptor = _open(os.O_RDWR | os.O_CREAT, make=True)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    with suppress(OSError):  # for who looks; a full file system takes it not, and nothing depends on it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def is_held() -> bool:
    """Whether a keeper lives. The lock is asked for and not taken, so a keeper that starts meanwhile gets it."""
    try:
        descriptor = _open(os.O_RDWR, make=False)
    except OSError:
        return False
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _WHOLE)
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def pid() -> int | None:
    """The keeper's pid, None when there is none."""
    if not is_held():
        return None
    try:
        descriptor = _open(os.O_RDONLY, make=False)
    except OSError:
        return None
    try:
        word = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    finally:
        os.close(descriptor)
    return int(word) if word.isdecimal() else None


def _open(flags: int, *, make: bool) -> int:
    directory = run_directory.open_directory(make=make)
    try:
        return run_directory.open_file(directory, NAME, flags)
    finally:
        os.close(directory)
