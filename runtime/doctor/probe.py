"""Tries one thing for real, in this process, which then ends: run by file name as a child, never imported.

Namespaces and mounts made here vanish with the process. Prints one JSON object, {"ok": ..., "found": ...}.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

CLONE = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
BPF_RET_K, SECCOMP_RET_ALLOW = 0x06, 0x7FFF0000

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """A libc function whose -1 is an OSError."""
    if getattr(libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


def namespaces() -> str:
    """Leave each kind of namespace for a new one."""
    failed = []
    for name, flag in CLONE.items():
        try:
            call("unshare", flag)
        except OSError as error:
            failed.append(f"{name} ({error.strerror})")
    if failed:
        raise OSError(0, f"cannot make: {', '.join(failed)}")
    return ", ".join(CLONE)


def overlay(directory: str) -> str:
    """Mount an overlay of /usr whose upper layer is in `directory`, write to it, see the write in the upper layer."""
    call("unshare", CLONE["mount"])
    call("mount", None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
    for name in ("upper", "work", "merged"):
        Path(directory, name).mkdir()
    options = f"lowerdir=/usr,upperdir={directory}/upper,workdir={directory}/work"
    merged = f"{directory}/merged"
    call("mount", b"overlay", os.fsencode(merged), b"overlay", ctypes.c_ulong(0), os.fsencode(options))
    with open(f"{merged}/probe", "w") as file:
        file.write("written")
    with open(f"{directory}/upper/probe") as file:
        if file.read() != "written":
            raise OSError(0, "a write did not reach the upper layer")
    if not Path(merged, "bin").is_dir():
        raise OSError(0, "the lower layer does not show")
    return "mounted, written and read back"


class Instruction(ctypes.Structure):
    """struct sock_filter."""

    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint))


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.POINTER(Instruction)))


def seccomp() -> str:
    """Install a filter that allows everything, and look for libseccomp."""
    program = Program(1, ctypes.pointer(Instruction(BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW)))
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return "filters work; libseccomp.so.2 is not here, so the smaller built-in filter is used"
    return "filters work, libseccomp is here"


def network() -> str:
    """Make a bridge with one end of a veth pair on it, in a network namespace of our own."""
    call("unshare", CLONE["network"])
    from pyroute2 import IPRoute

    with IPRoute() as route:
        route.link("add", ifname="probe", kind="bridge")
        route.link("add", ifname="left", kind="veth", peer={"ifname": "right"})
        (bridge,) = route.link_lookup(ifname="probe")
        (left,) = route.link_lookup(ifname="left")
        route.link("set", index=left, master=bridge, state="up")
    return "bridge and veth work"


PROBES: dict[str, Callable[..., str]] = {
    "namespaces": namespaces,
    "overlay": overlay,
    "seccomp": seccomp,
    "network": network,
}


def main(arguments: list[str]) -> None:
    """Try what the first argument names, with the others as its own."""
    try:
        result = {"ok": True, "found": PROBES[arguments[0]](*arguments[1:])}
    except (OSError, ValueError, LookupError, AttributeError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        result = {"ok": False, "found": words or type(error).__name__}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
