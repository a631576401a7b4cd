"""libseccomp.so.2 through ctypes: compiles a filter of system calls to classic BPF.

Source: seccomp_init(3), seccomp_rule_add_array(3), seccomp_export_bpf(3), seccomp.h.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from runtime.errors import UnsupportedError

FILE: Final = "libseccomp.so.2"
_ACT_BADARCH: Final = 2  # SCMP_FLTATR_ACT_BADARCH
_TITLE: Final = "make the system call filter"


class Operator(IntEnum):
    """enum scmp_compare."""

    LT = 2
    EQ = 4
    GT = 6
    MASKED_EQ = 7


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares an argument of a system call (0 to 5) with a number; MASKED_EQ: the bits of this mask must be 0."""

    argument: int
    operator: Operator
    number: int


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("first", ctypes.c_uint64), ("second", ctypes.c_uint64))


class Rules:
    """The rules of a filter under construction."""

    def __init__(self, library: ctypes.CDLL, context: ctypes.c_void_p) -> None:
        self._library = library
        self._context = context

    def add(self, action: int, name: str, comparison: Comparison | None = None) -> None:
        """Add a rule; ignored for a system call that this machine or this libseccomp does not know."""
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return
        compared = None
        if comparison is not None:
            one = _Comparison(comparison.argument, comparison.operator, comparison.number, 0)
            compared = (_Comparison * 1)(one)
        count = ctypes.c_uint(0 if comparison is None else 1)
        result = self._library.seccomp_rule_add_array(self._context, ctypes.c_uint32(action), number, count, compared)
        if result < 0:
            raise UnsupportedError(_TITLE, detail=f"{name}: {os.strerror(-result)}")

    def export(self) -> bytes:
        """The compiled filter: an array of struct sock_filter."""
        descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            result = self._library.seccomp_export_bpf(self._context, descriptor)
            if result < 0:
                raise UnsupportedError(_TITLE, detail=os.strerror(-result))
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)


class Library:
    """The loaded library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.seccomp_init.restype = ctypes.c_void_p

    @contextmanager
    def filter(self, default: int, *, bad_architecture: int) -> Iterator[Rules]:
        """A new filter: the actions for system calls without a rule, and for those of another architecture."""
        context = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(default)))
        if not context:
            raise UnsupportedError(_TITLE, detail="libseccomp could not start")
        try:
            self._library.seccomp_attr_set(context, _ACT_BADARCH, ctypes.c_uint32(bad_architecture))
            yield Rules(self._library, context)
        finally:
            self._library.seccomp_release(context)


def load() -> Library | None:
    """The library; None when it is not installed."""
    try:
        return Library(ctypes.CDLL(FILE, use_errno=True))
    except OSError:
        return None
