"""Route netlink sockets through pyroute2, in this network namespace or in another one.

A socket belongs to the namespace in which it was opened. So a thread enters the other namespace only to open the
socket, for a fraction of a millisecond; no process is forked and nothing has to be cleaned up.

Not for a thread with a running event loop: pyroute2 runs a private one. Importing pyroute2 takes about 0.1 s, so it is
imported on first use.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from runtime.errors import DeniedError, KernelError, PytopError, UnsupportedError
from runtime.kernel import procfs, syscalls

_CAP_NET_ADMIN = 12


def unavailable() -> str | None:
    """Why this process cannot configure networks, or None. Cheap; says nothing about missing kernel modules."""
    held = procfs.effective_capabilities() >> _CAP_NET_ADMIN & 1
    return None if held else "needs the right to configure networks (CAP_NET_ADMIN)"


@contextmanager
def connect(what: str, netns_fd: int | None = None, *, lacks: str = "") -> Iterator[Any]:
    """A socket (pyroute2's IPRoute) in this namespace or in `netns_fd`; its errors are raised as `PytopError`s.

    `what` is the title of such an error; `lacks` is its hint when the kernel does not support the request.
    Raises `DeniedError`, `UnsupportedError`, `KernelError`.
    """
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with in_namespace(netns_fd) if netns_fd is not None else nullcontext():
            ip = IPRoute()
        with ip:
            yield ip
    except NetlinkError as error:
        raise _refusal(what, OSError(int(error.code), os.strerror(int(error.code))), lacks) from error
    except OSError as error:
        raise _refusal(what, error, lacks) from error


@contextmanager
def ignoring(number: int) -> Iterator[list[int]]:
    """Ignore one netlink error (errno); if it occurs it is appended to the yielded list."""
    from pyroute2.netlink.exceptions import NetlinkError

    met: list[int] = []
    try:
        yield met
    except NetlinkError as error:
        if error.code != number:
            raise
        met.append(number)


@contextmanager
def in_namespace(netns_fd: int) -> Iterator[None]:
    """Move this thread, and no other one, into another network namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(netns_fd, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            syscalls.setns(home, syscalls.CLONE_NEWNET)
    finally:
        os.close(home)


def _refusal(what: str, error: OSError, lacks: str) -> PytopError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return DeniedError.from_os(what, error, hint="needs root or CAP_NET_ADMIN in this network namespace")
    if error.errno in (errno.EOPNOTSUPP, errno.ENOTSUP, errno.EAFNOSUPPORT):
        return UnsupportedError.from_os(what, error, hint=lacks)
    return KernelError.from_os(what, error)
