"""Which errors a call is made to fail with: those that its man page lists and that can come where it is made.

A short write and the two kills are faults too. EINTR is given to calls by ctypes only: Python makes its own again
(PEP 475), and so it never comes out of them. What a socket says of a peer that is gone comes where the peer is killed.
"""

from __future__ import annotations

import errno
import os
from typing import Final

SHORT: Final = "short"
BEFORE, AFTER = "killed before", "killed after"
KILLS: Final = (BEFORE, AFTER)
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
KERNEL_FILES: Final = ("/proc", "/sys")
"""No disk is behind them: they are never full, and give no EIO."""

_TABLE: Final[dict[str, str]] = {
    "open": "EMFILE ENOMEM",
    "open for reading": "EMFILE ENOMEM EIO",
    "open for writing": "EMFILE ENOMEM EIO ENOSPC EROFS",
    "read": "EIO",
    "read of a kernel file": "ENOMEM",
    "write": "ENOSPC EIO",
    "write to a kernel file": "ENOMEM EBUSY",
    "write to a pipe": "EAGAIN",
    "stat": "ENOMEM",
    "listdir": "EMFILE ENOMEM",
    "scandir": "EMFILE ENOMEM",
    "fsync": "EIO ENOSPC",
    "rename": "EIO ENOSPC EROFS",
    "replace": "EIO ENOSPC EROFS",
    "mkdir": "EIO ENOSPC EROFS ENOMEM",
    "mkdir in a kernel's file system": "ENOSPC EAGAIN ENOMEM",
    "mkfifo": "ENOSPC EROFS EIO",
    "unlink": "EIO EROFS",
    "rmdir": "EIO EROFS",
    "rmdir in a kernel's file system": "EBUSY",
    "chmod": "EIO EROFS",
    "fchmod": "EIO EROFS",
    "fchown": "EIO EROFS",
    "truncate": "EIO EROFS",
    "ftruncate": "EIO",
    "posix_fallocate": "ENOSPC EIO EINTR",
    "pipe2": "EMFILE ENFILE",
    "fork": "EAGAIN ENOMEM",
    "fork_exec": "EAGAIN ENOMEM",
    "pidfd_open": "EMFILE ENOMEM",
    "memfd_create": "EMFILE ENOMEM",
    "sendfile": "EIO ENOMEM",
    "flock": "ENOLCK",
    "lock of a byte": "ENOLCK",
    "mmap": "ENOMEM ENFILE",
    "socket": "EMFILE ENFILE ENOMEM",
    "socketpair": "EMFILE ENFILE ENOMEM",
    "accept": "EMFILE ENOMEM ECONNABORTED",
    "bind": "ENOMEM EADDRINUSE ENOSPC EROFS",
    "listen": "EADDRINUSE",
    "connect": "EAGAIN",
    "send": "ENOBUFS ENOMEM",
    "recv": "ENOMEM",
    "setxattr": "ENOSPC ENOTSUP",
    "netlink": "ENOBUFS ENOMEM EMFILE",
    "netlink request": "ENOMEM ENOBUFS",
    # by ctypes
    "clone3": "EAGAIN ENOMEM ENOSPC",
    "unshare": "ENOMEM ENOSPC",
    "setns": "ENOMEM",
    "mount": "ENOMEM",
    "umount2": "ENOMEM EBUSY",
    "openat2": "EMFILE ENOMEM EIO EINTR EAGAIN",
    "open_tree": "EMFILE ENOMEM ENOSPC",
    "move_mount": "ENOMEM ENOSPC",
    "fsopen": "EMFILE ENOMEM",
    "fsconfig": "ENOMEM EBUSY",
    "fsmount": "EMFILE ENOMEM ENOSPC",
    "mount_setattr": "ENOMEM",
    "pivot_root": "EBUSY",
    "bpf": "EMFILE ENOMEM EPERM",
    "keyctl": "EDQUOT ENOMEM",
    "inotify_init1": "EMFILE ENOMEM",
    "inotify_add_watch": "ENOSPC ENOMEM",
    "tee": "ENOMEM",
    "prctl": "",
    "capset": "",
    "posix_spawnp": "EAGAIN ENOMEM EMFILE",
    "close_range": "EMFILE ENOMEM",
    "kill": "",
    "pidfd_send_signal": "",
}


def kind_of(call: str, path: str | None, flags: int) -> str:
    """The entry of the table for a call on `path` (None where it has none), opened with `flags`."""
    kernel = path is not None and path.startswith(KERNEL_FILES)
    if call == "open" and not kernel:
        return "open for writing" if flags & _WRITES else "open for reading"
    if call in ("read", "pread"):
        return "read of a kernel file" if kernel else "read"
    if call in ("write", "pwrite"):
        if path is not None and path.startswith(("pipe:", "socket:")):
            return "write to a pipe"
        return "write to a kernel file" if kernel else "write"
    if call in ("mkdir", "rmdir") and kernel:
        return f"{call} in a kernel's file system"
    return call


def faults_of(kind: str) -> tuple[str, ...]:
    """The faults of one kind of call, as `Seam` makes them."""
    short = (SHORT,) if kind == "write" else ()
    return (*_TABLE[kind].split(), *short, *KILLS)


def number_of(fault: str) -> int:
    return int(getattr(errno, fault))
