"""How one container is isolated from the host: namespaces, capabilities, seccomp, mounts, id maps.

Read from /proc of its init; what may not be read is `Missing.DENIED`. Sources:
namespaces(7), capabilities(7), proc_pid_status(5), proc_pid_mountinfo(5), user_namespaces(7).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from runtime.errors import NotFoundError
from runtime.kernel import capability, cgroupfs, own_cgroup, procfs
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.kernel.procfs import NAMESPACES, PROC, IdRange
from runtime.model import Missing

SECCOMP = {"0": "off", "1": "strict", "2": "filter"}
CAPABILITY_SETS = {
    "effective": "CapEff",
    "permitted": "CapPrm",
    "inheritable": "CapInh",
    "bounding": "CapBnd",
    "ambient": "CapAmb",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Namespace:
    """One namespace: its inode, and whether it is the host's."""

    name: str
    inode: int | Missing
    shared: bool | Missing


@dataclass(frozen=True, slots=True)
class MountPoint:
    """One mount in the container's mount namespace; `options` are the mount's own and the file system's."""

    target: str
    source: str
    fstype: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """The isolation of one container; `seccomp` is "off", "strict" or "filter (N)".

    `capabilities` has the sets effective, permitted, inheritable, bounding and ambient; names without CAP_.
    `apparmor` is the label and mode of the security module in force, UNSUPPORTED when there is none.
    """

    namespaces: tuple[Namespace, ...]
    cgroup: Cgroup
    capabilities: Mapping[str, tuple[str, ...]] | Missing
    no_new_privs: bool | Missing
    seccomp: str | Missing
    mounts: tuple[MountPoint, ...] | Missing
    uid_map: tuple[IdRange, ...] | Missing
    gid_map: tuple[IdRange, ...] | Missing
    apparmor: str | Missing


def isolation(pid: int, *, proc: Path = PROC, hierarchies: Hierarchies | None = None) -> Isolation:
    """Read the isolation of the container whose init is `pid`. Raises `NotFoundError` when that is gone."""
    home = proc / str(pid)
    if not home.exists():
        raise NotFoundError(f"look at the isolation of process {pid}", detail="it has ended")
    status = _read(home / "status", procfs.parse_status)
    return Isolation(
        namespaces=namespaces(pid, proc=proc),
        cgroup=own_cgroup.locate(cgroupfs.detect() if hierarchies is None else hierarchies, pid, proc=proc),
        capabilities=status if isinstance(status, Missing) else _capabilities(status),
        no_new_privs=status if isinstance(status, Missing) else _no_new_privs(status),
        seccomp=status if isinstance(status, Missing) else _seccomp(status),
        mounts=_read(home / "mountinfo", parse_mounts),
        uid_map=_read(home / "uid_map", procfs.parse_id_map),
        gid_map=_read(home / "gid_map", procfs.parse_id_map),
        apparmor=_label(home),
    )


def namespaces(pid: int, *, proc: Path = PROC) -> tuple[Namespace, ...]:
    """Each kind of namespace of this kernel, compared with that of process 1 (of this program where 1 is hidden)."""
    found: list[Namespace] = []
    for name in NAMESPACES:
        inode = _inode(proc / str(pid) / "ns" / name)
        if inode is Missing.UNSUPPORTED:
            continue
        host = _inode(proc / "1" / "ns" / name)
        if isinstance(host, Missing):
            host = _inode(proc / "self" / "ns" / name)
        unknown = next((value for value in (inode, host) if isinstance(value, Missing)), None)
        found.append(Namespace(name, inode, inode == host if unknown is None else unknown))
    return tuple(found)


def _inode(link: Path) -> int | Missing:
    try:
        target = os.readlink(link)
        return int(target[target.index("[") + 1 : -1])
    except (OSError, ValueError) as error:
        return _reason(error)


def _reason(error: Exception) -> Missing:
    if isinstance(error, PermissionError):
        return Missing.DENIED
    return Missing.GONE if isinstance(error, ProcessLookupError) else Missing.UNSUPPORTED


def _read(path: Path, parse: Callable[[str], T]) -> T | Missing:
    try:
        return parse(path.read_text(errors="replace"))
    except OSError as error:
        return _reason(error)


def _capabilities(status: Mapping[str, str]) -> Mapping[str, tuple[str, ...]] | Missing:
    try:
        return {name: capability_names(int(status[key], 16)) for name, key in CAPABILITY_SETS.items() if key in status}
    except ValueError:
        return Missing.UNSUPPORTED


def capability_names(bits: int) -> tuple[str, ...]:
    """Names of the bits that are set; one that is newer than this program is "CAP_<number>"."""
    known = len(capability.NAMES)
    set_bits = (bit for bit in range(bits.bit_length()) if bits >> bit & 1)
    return tuple(capability.NAMES[bit] if bit < known else f"CAP_{bit}" for bit in set_bits)


def _no_new_privs(status: Mapping[str, str]) -> bool | Missing:
    return status["NoNewPrivs"] == "1" if "NoNewPrivs" in status else Missing.UNSUPPORTED


def _seccomp(status: Mapping[str, str]) -> str | Missing:
    mode = status.get("Seccomp")
    if mode is None:
        return Missing.UNSUPPORTED
    filters = status.get("Seccomp_filters", "")
    word = SECCOMP.get(mode, mode)
    return f"{word} ({filters})" if word == "filter" and filters else word


def parse_mounts(text: str) -> tuple[MountPoint, ...]:
    """/proc/<pid>/mountinfo. A bind mount's source is followed by the part of the file system that it shows."""
    found: list[MountPoint] = []
    for mount in procfs.parse_mountinfo(text):
        source = mount.source + ("" if mount.root == "/" else f"[{mount.root}]")
        options = dict.fromkeys(f"{mount.options},{mount.super_options}".split(","))
        if "ro" in options and mount.options.split(",")[0] == "ro":
            options.pop("rw", None)  # the file system is writable, this mount of it is not
        found.append(MountPoint(mount.target, source, mount.fstype, tuple(options)))
    return tuple(found)


def _label(home: Path) -> str | Missing:
    """The security module's label; reading fails with EINVAL where none is active."""
    for path in (home / "attr/apparmor/current", home / "attr/current"):
        label = _read(path, lambda text: text.strip("\0\n "))
        if label is Missing.DENIED or (isinstance(label, str) and label):
            return label
    return Missing.UNSUPPORTED
