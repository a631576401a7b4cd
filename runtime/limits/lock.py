"""One change of a container's limits at a time on this machine, across all processes of one user of this program.

A change by an engine's daemon is completed by our own writes and then read back; two at once would mix, or leave a
record that differs from the kernel. The lock is in `run_directory`, where no container and no other user can take it: a
container could lock its cgroup's directory, or a file in it, and forbid that it is limited. It is one byte of one file,
chosen by the cgroup's device and inode, so that nothing is left behind by whatever ended. The kernel releases it with
its holder. Source: fcntl_locking(2), open file description locks.

A lock that cannot be had stops no change: who is contained must not wait for who is stuck. The change is made, and its
outcome says that it was made without the lock.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from runtime.kernel import run_directory, threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import LimitOutcome

log = logging.getLogger(__name__)

LOCK_TIMEOUT_S: Final = 10.0
"""After which a change is made without the lock."""
LOCK_FILE: Final = "changes"
_RETRY_INTERVAL_S: Final = 0.01
_FLOCK: Final = struct.Struct("hhqqi0q")  # struct flock of fcntl(2): type, whence, start, length, pid
_MAX_OFFSETS: Final = 1 << 62  # an offset has 63 bits


@asynccontextmanager
async def change_lock(
    what: Cgroup | Path | None, title: str, *, timeout_s: float = LOCK_TIMEOUT_S
) -> AsyncIterator[str]:
    """Hold the lock of a container by its cgroup, or by another directory where it has none.

    Gives "", or in words why the lock is not held: another process still had it after `timeout_s` seconds, or the lock
    file cannot be opened. `with_warning` puts that into an outcome.
    """
    directory = _own(what) if isinstance(what, Cgroup) else what
    offset = await threads.acting(_offset, directory) if directory is not None else None
    if offset is None:
        yield ""
        return
    try:
        held = await threads.acquiring(_open, os.close)
    except OSError as error:
        reason = f"without a lock against other clients: {error.filename}: {error.strerror}"
        log.warning("%s: %s", title, reason)
        yield reason
        return
    try:
        deadline = time.monotonic() + timeout_s
        reason = ""
        while not reason and not _taken(held, offset):
            if time.monotonic() > deadline:
                reason = f"another client was still changing it after {timeout_s:g} s, and was not waited for"
                log.warning("%s: %s", title, reason)
            else:
                await asyncio.sleep(_RETRY_INTERVAL_S)
        yield reason
    finally:
        os.close(held)


def with_warning(outcome: LimitOutcome, reason: str) -> LimitOutcome:
    """The outcome with the reason why it was made without the lock at each limit; unchanged for ""."""
    if not reason:
        return outcome
    fields = (replace(field, detail="; ".join(filter(None, (field.detail, reason)))) for field in outcome.fields)
    return replace(outcome, fields=tuple(fields))


def _own(cgroup: Cgroup) -> Path | None:
    """The deepest of its directories: in a hierarchy without a cgroup of its own, others share the directory."""
    return max(cgroup.directories, key=lambda path: (len(path.parts), str(path)), default=None)


def _offset(directory: Path) -> int | None:
    """The byte that stands for a directory, whatever it is called by; None when it is gone."""
    try:
        found = os.stat(directory)
    except OSError:  # it has ended, which the change itself will find out
        return None
    digest = hashlib.blake2b(f"{found.st_dev}:{found.st_ino}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % _MAX_OFFSETS


def _open() -> int:
    directory = run_directory.open_directory()
    try:
        return run_directory.open_file(directory, LOCK_FILE, os.O_RDWR | os.O_CREAT)
    finally:
        os.close(directory)


def _taken(held: int, offset: int) -> bool:
    try:
        fcntl.fcntl(held, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0))
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES
        return False
    return True
