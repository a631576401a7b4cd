"""Which containers share a parent cgroup, and whether it holds no other processes. Reads the kernel; blocking."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collectors.sampling import network
from collectors.sampling.target import Target
from runtime.kernel import cgroupfs, own_cgroup
from runtime.kernel.cgroupfs import Hierarchies
from runtime.model import Missing, Ref

PROC: Final = Path("/proc")
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

    paths: Mapping[Ref, str] = field(default_factory=dict)
    networks: Mapping[Ref, Hashable] = field(default_factory=dict)


def cgroup_paths(targets: Iterable[Target], hierarchies: Hierarchies, proc: Path = PROC) -> CgroupPaths:
    """Find the cgroup and network namespace of every target; those that have ended are left out."""
    paths: dict[Ref, str] = {}
    networks: dict[Ref, Hashable] = {}
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


def cgroup_of_group(paths: Sequence[str], hierarchies: Hierarchies, roots: Collection[str] = ENGINE_PARENTS) -> str:
    """The deepest cgroup above all of these that holds no process but theirs; "" when there is none."""
    return own_cgroup.of_group(
        paths,
        hierarchies,
        is_common=lambda path: _is_root(path, roots),
        is_monitor=lambda name: _MONITOR.fullmatch(name) is not None,
    )
