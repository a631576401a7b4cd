"""One guard at a time for one user of a machine, in the run directory; the second is told who the first is.

The kernel releases the lock with its holder. Root's guard may contain every container, a user's only what is the user's
own; each has the run directory of its own user, where nobody else could hold the lock against it.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
from contextlib import suppress
from typing import Final

from runtime.errors import ConflictError, PytopError
from runtime.kernel import run_directory

LOCK_FILE: Final = "guard"
_MAX_NOTE_BYTES: Final = 4096


class WriterLock:
    """The lock, held until `close`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, policy: str) -> WriterLock:
        """Take the lock, with a note of who holds it. Raises `ConflictError` while another has it. Blocking."""
        title = "start the guard"
        try:
            directory = run_directory.open_directory()
            try:
                descriptor = run_directory.open_file(directory, LOCK_FILE, os.O_RDWR | os.O_CREAT)
            finally:
                os.close(directory)
        except OSError as error:
            raise PytopError.from_os(title, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            note = json.dumps({"pid": os.getpid(), "uid": os.getuid(), "policy": policy}).encode()[:_MAX_NOTE_BYTES]
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, note, 0)
        except BlockingIOError:
            holder = _holder(os.pread(descriptor, _MAX_NOTE_BYTES, 0))
            os.close(descriptor)
            raise ConflictError(
                title, detail=f"another guard runs: {holder}", hint="End that one first, or add to its policy"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise PytopError.from_os(title, error) from error
        return cls(descriptor)

    def close(self) -> None:
        """Release it; the file stays, empty."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def _holder(note: bytes) -> str:
    """Who holds the lock, in words; of a note that is just being written only that somebody does."""
    detail = "it has only just begun"
    with suppress(ValueError, TypeError, KeyError):
        found = json.loads(note)
        pid, uid, policy = int(found["pid"]), int(found["uid"]), str(found["policy"])
        user = str(uid)
        with suppress(KeyError):
            user = pwd.getpwuid(uid).pw_name
        detail = f"process {pid} of user {user}, with the policy {policy}"
    return detail
