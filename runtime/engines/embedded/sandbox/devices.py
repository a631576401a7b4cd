"""Which devices a container may open: the harmless ones of /dev, nothing of the host's. Nodes may be made, not opened.

v1: devices.deny and devices.allow. v2 has no files for it but a BPF program per cgroup (BPF_PROG_TYPE_CGROUP_DEVICE),
assembled here and attached by bpf(2). Source: cgroup-v1/devices.rst, cgroup-v2.rst "Device controller", linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path
from typing import Final

from runtime.engines.embedded import libc
from runtime.errors import KernelError, UnsupportedError
from runtime.kernel import files
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

_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_PROG_LOAD, _PROG_ATTACH = 5, 8
_PROG_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI = 15, 6, 2
_TYPE_CHAR, _ACCESS_MKNOD = 2, 1
_LOAD_WORD, _AND, _SHIFT_RIGHT, _MOVE, _IF_NOT, _EXIT = 0x61, 0x57, 0x77, 0xB7, 0x55, 0x95


def apply(cgroup: Cgroup) -> None:
    """Restrict the cgroup; before its program runs. Raises `KernelError`, `DeniedError` or `UnsupportedError`."""
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
    """The filter in BPF instructions: 1 lets an access through, 0 refuses it.

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
    """Load the program and attach it to a v2 cgroup; it lives as long as the cgroup."""
    code = ctypes.create_string_buffer(program())
    license_text = ctypes.create_string_buffer(b"GPL")
    load = struct.pack(
        "=IIQQ",
        _PROG_TYPE_CGROUP_DEVICE,
        (len(code) - 1) // 8,
        ctypes.addressof(code),
        ctypes.addressof(license_text),
    )
    loaded = _bpf(_PROG_LOAD, load, directory)
    target = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _bpf(_PROG_ATTACH, struct.pack("=IIII", target, loaded, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI), directory)
    finally:
        os.close(target)
        os.close(loaded)


def _bpf(command: int, attributes: bytes, directory: Path) -> int:
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        raise UnsupportedError("keep the host's devices from a container", detail=f"no bpf(2) for {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    try:
        return libc.syscall(number, ctypes.c_int(command), buffer, ctypes.c_uint(128))
    except OSError as error:
        raise KernelError.from_os(
            "keep the host's devices from a container",
            error,
            path=str(directory),
            hint="The kernel needs CONFIG_CGROUP_BPF, and the caller CAP_SYS_ADMIN",
        ) from error
