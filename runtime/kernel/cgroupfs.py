"""Where cgroup hierarchies are mounted on this host, and which cgroups a process is in.

Three layouts exist: pure v2, pure v1, and hybrid (v1 controllers beside a v2 tree that has PSI, freeze and kill
but no controllers). Source: cgroups(7), Documentation/admin-guide/cgroup-v2.rst, proc_pid_mountinfo(5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from runtime.kernel.procfs import parse_mountinfo

CONTROLLERS = (
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "io",
    "blkio",
    "pids",
    "devices",
    "freezer",
    "hugetlb",
    "rdma",
    "misc",
)


class Mode(StrEnum):
    """The cgroup layout of a host."""

    V1 = "v1"
    V2 = "v2"
    HYBRID = "hybrid"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted hierarchy; `root` is the part of it that is visible at `path` ("/" on a whole host)."""

    path: Path
    root: str = "/"

    def of(self, cgroup: str) -> Path | None:
        """The directory of a cgroup path of /proc/<pid>/cgroup; None when it is not below this mount."""
        if ".." in cgroup.split("/"):
            return None
        if self.root != "/":
            if cgroup != self.root and not cgroup.startswith(self.root + "/"):
                return None
            cgroup = cgroup[len(self.root) :]
        return self.path / cgroup.strip("/")


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """The cgroup mounts of this host: `v1` by controller name, and the unified tree.

    `others` are v1 hierarchies without a controller of `CONTROLLERS`: above all name=systemd, by which systemd knows
    the processes of a unit.
    """

    mode: Mode
    v1: Mapping[str, Mount] = field(default_factory=dict)
    unified: Mount | None = None
    others: tuple[Mount, ...] = ()


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The directories of one cgroup: `v1` by controller, `unified` in the v2 tree.

    `unified` is None when the processes are in the root of the v2 tree, whose files are about the whole host.
    `controllers` are the v2 controllers that are enabled for it (empty on v1 and hybrid hosts).
    """

    v1: Mapping[str, Path] = field(default_factory=dict)
    unified: Path | None = None
    controllers: frozenset[str] = frozenset()

    @property
    def directories(self) -> tuple[Path, ...]:
        """Each directory once: v1 controllers that are mounted together share one."""
        found = dict.fromkeys(self.v1.values())
        if self.unified is not None:
            found[self.unified] = None
        return tuple(found)

    def where(self, controller: str) -> tuple[Path, Literal[1, 2]] | None:
        """The directory with a controller's files, and the cgroup version; None when the controller is not available.

        `controller` is the v2 name; "io" finds v1's blkio. "cpu.stat" usage without a controller is in `unified`.
        """
        if self.unified is not None and controller in self.controllers:
            return self.unified, 2
        path = self.v1.get("blkio" if controller == "io" else controller)
        return (path, 1) if path is not None else None


def detect(mountinfo: Path = Path("/proc/self/mountinfo")) -> Hierarchies:
    """Find the cgroup mounts. `Mode.NONE` when there are none or mountinfo cannot be read; raises nothing."""
    v1: dict[str, Mount] = {}
    others: dict[str, Mount] = {}
    unified: Mount | None = None
    try:
        text = mountinfo.read_text(errors="surrogateescape")
    except OSError:
        return Hierarchies(Mode.NONE)
    for entry in parse_mountinfo(text):
        mount = Mount(Path(entry.target), entry.root)
        if entry.fstype == "cgroup2" and unified is None:
            unified = mount
        elif entry.fstype == "cgroup":
            names = [option for option in entry.super_options.split(",") if option in CONTROLLERS]
            for name in names:
                v1.setdefault(name, mount)
            if not names:
                others.setdefault(entry.super_options, mount)
    mode = (Mode.HYBRID if unified else Mode.V1) if v1 else (Mode.V2 if unified else Mode.NONE)
    return Hierarchies(mode, v1, unified, tuple(others.values()))


def parse_proc_cgroup(text: str) -> tuple[dict[str, str], str | None]:
    """/proc/<pid>/cgroup -> (v1 path by controller, path in the unified tree)."""
    v1: dict[str, str] = {}
    unified: str | None = None
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        names, colon, path = rest.partition(":")
        if not colon:
            continue
        if number == "0" and not names:
            unified = path
        for name in names.split(","):
            if name in CONTROLLERS:
                v1[name] = path
    return v1, unified


def at(hierarchies: Hierarchies, v1_paths: Mapping[str, str], unified_path: str | None) -> Cgroup:
    """The cgroup with these paths, as directories of this host."""
    v1: dict[str, Path] = {}
    for name, path in v1_paths.items():
        mount = hierarchies.v1.get(name)
        directory = mount.of(path) if mount is not None else None
        if directory is not None:
            v1[name] = directory
    unified: Path | None = None
    if hierarchies.unified is not None and unified_path not in (None, "/"):
        unified = hierarchies.unified.of(unified_path or "/")
    controllers: frozenset[str] = frozenset()
    if unified is not None:
        try:
            controllers = frozenset((unified / "cgroup.controllers").read_text().split())
        except OSError:
            controllers = frozenset()
    return Cgroup(v1, unified, controllers)
