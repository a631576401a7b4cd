"""Which containers share a parent cgroup, and whether it holds no other processes. Reads the kernel; blocking."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collectors.sampling import network
from collectors.sampling.target import Target
from runtime.kernel import cgroupfs
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.model import ContainerRef, Missing

PROC: Final = Path("/proc")
MAX_CGROUPS: Final = 4096  # that are searched for other processes; with more below, the answer is no
ENGINE_PARENTS: Final = frozenset(
    {
        *("docker", "libpod_parent", "libpod", "podman", "machine.slice", "system.slice", "user.slice", "init.scope"),
        *("app.slice", "user-libpod_pod", "kubepods", "kubepods.slice", "lxc", "lxc.payload", "buildkit", "default"),
        *("k8s.io", "moby", "pytop-containers", "burstable", "besteffort", "crio"),
        *("kubepods-burstable.slice", "kubepods-besteffort.slice", "user.slice", "session.slice"),
    }
)
"""Default parents of engines: two containers in one of them do not therefore belong together.

The `roots` of the functions below are last path components such as these, or whole paths.
"""

_INSTANCE: Final = "pytop-"
"""Prefix of the parent cgroup of every instance of the embedded engine."""

_MONITOR: Final = re.compile(r"conmon|(?:libpod|crio)-conmon-[0-9a-f]+(?:\.scope)?")
"""Cgroups of conmon, which Podman and CRI-O put beside the containers in a pod's cgroup."""


@dataclass(frozen=True, slots=True)
class CgroupPaths:
    """Of live containers: the path of their own cgroup, and their network namespace (an opaque key)."""

    paths: Mapping[ContainerRef, str] = field(default_factory=dict)
    networks: Mapping[ContainerRef, Hashable] = field(default_factory=dict)


def cgroup_paths(targets: Iterable[Target], hierarchies: Hierarchies, proc: Path = PROC) -> CgroupPaths:
    """Find the cgroup and network namespace of every target; those that have ended are left out."""
    paths: dict[ContainerRef, str] = {}
    networks: dict[ContainerRef, Hashable] = {}
    for target in targets:
        try:
            text = (proc / str(target.pid) / "cgroup").read_text(errors="surrogateescape")
        except OSError:
            continue
        path = target.cgroup or _path(text, hierarchies)
        if path:
            paths[target.ref] = path
        inode = network.network_namespace(target.pid, proc)
        if not isinstance(inode, Missing):
            networks[target.ref] = inode
    return CgroupPaths(paths, networks)


def _path(text: str, hierarchies: Hierarchies) -> str:
    """The path in the hierarchy that has the limits; "" when it is the root."""
    v1, unified = cgroupfs.parse_proc_cgroup(text)
    for name in ("memory", "cpu", "pids"):
        if name in hierarchies.v1 and v1.get(name, "/") != "/":
            return v1[name]
    return unified if unified is not None and unified != "/" else ""


def chosen_parent(path: str, roots: Collection[str] = ENGINE_PARENTS) -> str:
    """The parent cgroup if somebody chose it for the container; "" when it is a default parent of an engine."""
    above = path.rpartition("/")[0]
    return "" if _is_root(above, roots) else above


def _is_root(path: str, roots: Collection[str]) -> bool:
    name = path.rpartition("/")[2]
    return path in roots or name in roots or name.startswith(_INSTANCE)


def own_cgroup(paths: Sequence[str], hierarchies: Hierarchies, roots: Collection[str] = ENGINE_PARENTS) -> str:
    """The deepest common ancestor of these cgroups if it holds no processes but theirs, else ""."""
    if not paths:
        return ""
    above = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120  (a cgroup's path)
    if above in ("", "/") or _is_root(above, roots):
        return ""
    cgroup = cgroup_at(above, hierarchies)
    tops = set(cgroup.v1.values()) | ({cgroup.unified} if cgroup.unified is not None else set())
    below = [os.path.relpath(path, above) for path in paths]
    alone = bool(tops) and all(_holds_only(top, {top / name for name in below}) for top in tops)
    return above if alone else ""


def cgroup_at(path: str, hierarchies: Hierarchies) -> Cgroup:
    """The cgroup with this path, in every hierarchy where it exists."""
    v1 = {
        name: path
        for name, mount in hierarchies.v1.items()
        if (directory := mount.of(path)) is not None and directory.is_dir()
    }
    unified = hierarchies.unified.of(path) if hierarchies.unified is not None else None
    return cgroupfs.at(hierarchies, v1, path if unified is not None and unified.is_dir() else None)


def _holds_only(top: Path, members: Collection[Path]) -> bool:
    """Whether every process at or below `top` is in `members` or is their monitor (conmon)."""
    waiting, seen = [top], 0
    while waiting:
        directory = waiting.pop()
        if directory in members or _MONITOR.fullmatch(directory.name):
            continue
        seen += 1
        if seen > MAX_CGROUPS:
            return False
        try:
            if (directory / "cgroup.procs").read_bytes().strip():
                return False
            waiting += [Path(entry.path) for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            continue  # removed during the search
        except OSError:
            return False  # unreadable: it may hold others
    return True
