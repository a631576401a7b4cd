"""The C library, and the few calls of it that the sandbox and the network need and Python 3.11 lacks."""

from __future__ import annotations

import ctypes
import os

LIBC = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNET = 0x40000000


def checked(result: int, call: str) -> int:
    """The result of a libc call, or its errno as an `OSError` that names the call."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def setns(fd: int, kind: int) -> None:
    """Move this thread into a namespace (setns(2))."""
    checked(LIBC.setns(fd, kind), "setns")


def prctl(option: int, second: int = 0, third: int = 0) -> int:
    """Set a process attribute; plain numbers only, and the unused arguments are zero, as the kernel demands."""
    number = ctypes.c_ulong
    return checked(LIBC.prctl(option, number(second), number(third), number(0), number(0)), "prctl")


def syscall(number: int, *arguments: object) -> int:
    """Make a system call that has no wrapper; pointers come as ctypes objects."""
    LIBC.syscall.restype = ctypes.c_long
    return checked(LIBC.syscall(ctypes.c_long(number), *arguments), f"system call {number}")
