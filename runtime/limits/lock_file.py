"""The file of the locks against two changes of one container at once, for who has an event loop (`lock`) or none.

One byte of one file in `run_directory` stands for a cgroup, so nothing is left behind by whatever ended. The kernel
releases it with its holder. Source: fcntl_locking(2), open file description locks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from runtime.kernel import run_directory
from runtime.kernel.cgroupfs import Cgroup

LOCK_TIMEOUT_S: Final = 10.0
"""After which a change is made without the lock."""
LOCK_FILE: Final = "changes"
RETRY_INTERVAL_S: Final = 0.01
_FLOCK: Final = struct.Struct("hhqqi0q")  # struct flock of fcntl(2): type, whence, start, length, pid
_MAX_OFFSETS: Final = 1 << 62  # an offset has 63 bits


@contextmanager
def blocking_lock(what: Cgroup | Path | None, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[str]:
    """Hold the lock as `lock.change_lock` does, in a thread or a process without an event loop."""
    offset = offset_of(what)
    if offset is None:
        yield ""
        return
    try:
        held = open_file()
    except OSError as error:
        yield refused(error)
        return
    try:
        deadline = time.monotonic() + timeout_s
        reason = ""
        while not reason and not taken(held, offset):
            if time.monotonic() > deadline:
                reason = not_waited_for(timeout_s)
            else:
                time.sleep(RETRY_INTERVAL_S)
        yield reason
    finally:
        os.close(held)


def refused(error: OSError) -> str:
    """Why there is no lock, when its file could not be opened."""
    return f"without a lock against other clients: {error.filename}: {error.strerror}"


def not_waited_for(timeout_s: float) -> str:
    """Why there is no lock, when another process has it for too long."""
    return f"another client was still changing it after {timeout_s:g} s, and was not waited for"


def offset_of(what: Cgroup | Path | None) -> int | None:
    """The byte that stands for a cgroup or directory, whatever it is called by; None when it is gone."""
    directory = _own(what) if isinstance(what, Cgroup) else what
    if directory is None:
        return None
    try:
        found = os.stat(directory)
    except OSError:  # it has ended, which the change itself will find out
        return None
    digest = hashlib.blake2b(f"{found.st_dev}:{found.st_ino}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % _MAX_OFFSETS


def _own(cgroup: Cgroup) -> Path | None:
    """The deepest of its directories: in a hierarchy without a cgroup of its own, others share the directory."""
    return max(cgroup.directories, key=lambda path: (len(path.parts), str(path)), default=None)


def open_file() -> int:
    """A descriptor of the file, made if need be. Raises `OSError`."""
    directory = run_directory.open_directory()
    try:
        return run_directory.open_file(directory, LOCK_FILE, os.O_RDWR | os.O_CREAT)
    finally:
        os.close(directory)


def taken(held: int, offset: int) -> bool:
    """Try to take the byte; False while another one has it."""
    try:
        fcntl.fcntl(held, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0))
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES
        return False
    return True
