"""Runs one probe of the kernel in this process and exits: started by file name as a child process, never imported.

Namespaces and mounts made here vanish with the process. Prints one JSON object, {"ok": ..., "found": ...}.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # an isolated interpreter does not find its own packages

from runtime.kernel import libseccomp, syscalls

CLONE = {
    "mount": syscalls.CLONE_NEWNS,
    "cgroup": syscalls.CLONE_NEWCGROUP,
    "uts": syscalls.CLONE_NEWUTS,
    "ipc": syscalls.CLONE_NEWIPC,
    "pid": syscalls.CLONE_NEWPID,
    "network": syscalls.CLONE_NEWNET,
}
ALLOW_ALL_FILTER = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)  # BPF_RET|BPF_K of SECCOMP_RET_ALLOW


def namespaces() -> str:
    """Create a namespace of each kind with unshare(2)."""
    failed = []
    for name, flag in CLONE.items():
        try:
            syscalls.unshare(flag)
        except OSError as error:
            failed.append(f"{name} ({os.strerror(error.errno or 0)})")
    if failed:
        raise OSError(0, f"cannot make: {', '.join(failed)}")
    return ", ".join(CLONE)


def overlay(directory: str) -> str:
    """Mount an overlay of /usr with its upper layer in `directory`, write a file, and look for it in that layer."""
    syscalls.unshare(CLONE["mount"])
    syscalls.mount_flags("/", syscalls.MS_REC | syscalls.MS_PRIVATE)
    for name in ("upper", "work", "merged"):
        Path(directory, name).mkdir()
    merged = f"{directory}/merged"
    options = {"lowerdir": "/usr", "upperdir": f"{directory}/upper", "workdir": f"{directory}/work"}
    mount = syscalls.new_mount("overlay", options)
    point = os.open(merged, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    syscalls.move_mount(mount, point)
    with open(f"{merged}/probe", "w") as file:
        file.write("written")
    with open(f"{directory}/upper/probe") as file:
        if file.read() != "written":
            raise OSError(0, "a write did not reach the upper layer")
    if not Path(merged, "bin").is_dir():
        raise OSError(0, "the lower layer does not show")
    return "mounted, written and read back"


def seccomp() -> str:
    """Install a filter that allows every system call, and check whether libseccomp can be loaded."""
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.set_seccomp_filter(ALLOW_ALL_FILTER)
    if libseccomp.load() is None:
        return f"filters work; {libseccomp.FILE} is not here, so the smaller built-in filter is used"
    return "filters work, libseccomp is here"


def network() -> str:
    """Create a bridge with one end of a veth pair attached, in a new network namespace."""
    syscalls.unshare(CLONE["network"])
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
    """Run the probe named by the first argument, with the remaining ones as its arguments."""
    try:
        result = {"ok": True, "found": PROBES[arguments[0]](*arguments[1:])}
    except (OSError, ValueError, LookupError, AttributeError) as error:
        words = str(error)
        if isinstance(error, OSError):
            words = os.strerror(error.errno) if error.errno else str(error.strerror)
        result = {"ok": False, "found": words or type(error).__name__}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
