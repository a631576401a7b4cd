"""Which devices a container may open: the harmless ones of /dev. Other device nodes may be created but not opened.

v1: devices.deny and devices.allow. v2 has no files for it; a BPF program per cgroup (BPF_PROG_TYPE_CGROUP_DEVICE) is
assembled here and attached by bpf(2). Source: cgroup-v1/devices.rst, cgroup-v2.rst "Device controller", linux/bpf.h.
"""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Final

from runtime.errors import KernelError, UnsupportedError
from runtime.kernel import files, syscalls
from runtime.kernel.cgroupfs import Cgroup

ALLOWED: Final[tuple[tuple[int, int | None], ...]] = (
    (1, 3),  # null
    (1, 5),  # zero
    (1, 7),  # full
    (1, 8),  # random
    (1, 9),  # urandom
    (5, 0),  # tty
    (5, 2),  # ptmx
    (136, None),  # pts
)
"""Character devices as (major, minor); None is every minor."""

_PROG_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI = 15, 6, 2
_TYPE_CHAR, _ACCESS_MKNOD = 2, 1
_LOAD_WORD, _AND, _SHIFT_RIGHT, _MOVE, _IF_NOT, _EXIT = 0x61, 0x57, 0x77, 0xB7, 0x55, 0x95


def apply(cgroup: Cgroup) -> None:
    """Restrict the cgroup, before its program runs. Raises `KernelError`, `DeniedError` or `UnsupportedError`."""
    directory = cgroup.v1.get("devices")
    if directory is not None:
        _apply_v1(directory)
    elif cgroup.unified is not None:
        attach(cgroup.unified)
    else:
        raise UnsupportedError("keep the host's devices from a container", detail="no cgroup hierarchy can do it here")


def _apply_v1(directory: Path) -> None:
    files.write(directory / "devices.deny", "a")
    for kind in "cb":
        files.write(directory / "devices.allow", f"{kind} *:* m")
    for major, minor in ALLOWED:
        files.write(directory / "devices.allow", f"c {major}:{'*' if minor is None else minor} rwm")


def program(allowed: tuple[tuple[int, int | None], ...] = ALLOWED) -> bytes:
    """The filter as BPF instructions: it returns 1 to permit an access and 0 to refuse it.

    Its context is {u32 access << 16 | type, u32 major, u32 minor}.
    """

    def line(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
        return struct.pack("=BBhi", code, source << 4 | to, offset, value)

    answer = {verdict: line(_MOVE, 0, value=verdict) + line(_EXIT) for verdict in (0, 1)}
    checks = b""
    for major, minor in allowed:
        if minor is None:
            checks += line(_IF_NOT, 4, offset=2, value=major)
        else:
            checks += line(_IF_NOT, 4, offset=3, value=major) + line(_IF_NOT, 5, offset=2, value=minor)
        checks += answer[1]
    return b"".join(
        (
            line(_LOAD_WORD, 2, 1, 0),
            line(_LOAD_WORD, 3, 1, 0),
            line(_AND, 3, value=0xFFFF),
            line(_SHIFT_RIGHT, 2, value=16),
            line(_LOAD_WORD, 4, 1, 4),
            line(_LOAD_WORD, 5, 1, 8),
            line(_IF_NOT, 2, offset=2, value=_ACCESS_MKNOD),
            answer[1],
            line(_IF_NOT, 3, offset=len(checks) // 8, value=_TYPE_CHAR),
            checks,
            answer[0],
        )
    )


def attach(directory: Path) -> None:
    """Load the program and attach it to a v2 cgroup; the kernel removes it with the cgroup."""
    title = "keep the host's devices from a container"
    try:
        loaded = syscalls.bpf_load(_PROG_TYPE_CGROUP_DEVICE, program())
        try:
            target = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                syscalls.bpf_attach(target, loaded, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI)
            finally:
                os.close(target)
        finally:
            os.close(loaded)
    except OSError as error:
        kind = UnsupportedError if error.errno == errno.ENOSYS else KernelError
        hint = "The kernel needs CONFIG_CGROUP_BPF, and the caller CAP_SYS_ADMIN"
        raise kind.from_os(title, error, path=str(directory), hint=hint) from error
