"""Where cgroups are mounted on this host, and in which of them a process lives.

Three layouts exist: pure v2, pure v1, and hybrid (v1 controllers beside a v2 tree that has PSI, freeze and kill
but no controllers). Source: cgroups(7), Documentation/admin-guide/cgroup-v2.rst, proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

from runtime.errors import NotFoundError, PytopError
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


NO_OWN: Final = "/"
"""The path of a container's own cgroup when it has none: it shares one with others, and the root is nobody's own."""


class Mode(StrEnum):
    """Which layout this host has."""

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
        """The directory of a cgroup path as /proc/<pid>/cgroup names it, None when it is not below this mount."""
        if ".." in cgroup.split("/"):
            return None
        if self.root != "/":
            if cgroup != self.root and not cgroup.startswith(self.root + "/"):
                return None
            cgroup = cgroup[len(self.root) :]
        return self.path / cgroup.strip("/")


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """The cgroup mounts of this host: `v1` by controller name, and the unified tree."""

    mode: Mode
    v1: Mapping[str, Mount] = field(default_factory=dict)
    unified: Mount | None = None


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The directories of one cgroup: `v1` by controller, `unified` in the v2 tree.

    `unified` is None when the processes sit in the root of the v2 tree: its files would be the host's, not theirs.
    `controllers` are the v2 controllers that are enabled for it (empty on v1 and hybrid hosts).
    """

    v1: Mapping[str, Path] = field(default_factory=dict)
    unified: Path | None = None
    controllers: frozenset[str] = frozenset()

    def where(self, controller: str) -> tuple[Path, Literal[1, 2]] | None:
        """The directory in which a controller's files are, and their version; None where it is not available.

        `controller` is the v2 name; "io" finds v1's blkio. "cpu.stat" usage without a controller is in `unified`.
        """
        if self.unified is not None and controller in self.controllers:
            return self.unified, 2
        path = self.v1.get("blkio" if controller == "io" else controller)
        return (path, 1) if path is not None else None


def detect(mountinfo: Path = Path("/proc/self/mountinfo")) -> Hierarchies:
    """Find the cgroup mounts; a host without any gives `Mode.NONE`, never an error."""
    v1: dict[str, Mount] = {}
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
            for option in entry.super_options.split(","):
                if option in CONTROLLERS:
                    v1.setdefault(option, mount)
    if v1:
        return Hierarchies(Mode.HYBRID if unified else Mode.V1, v1, unified)
    return Hierarchies(Mode.V2 if unified else Mode.NONE, {}, unified)


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


PREFIXES: Final = ("", "docker", "libpod", "libpod-payload", "crio", "cri-containerd", "nerdctl")
"""What engines put before a container's id in the name of its cgroup; "" for nothing."""


def named(text: str, identity: str, prefixes: Collection[str] = PREFIXES) -> str:
    """The path in /proc/<pid>/cgroup that ends in the cgroup called after a container's id; "" for none.

    A whole name must fit: ID, PREFIX-ID, PREFIX:ID (systemd's form, made by a cgroup driver that knows no systemd),
    each with ".scope" or without. Its processes may live below it: crun puts them into "container" on cgroup v2, and
    an init system makes cgroups of its own.
    """
    if not identity:
        return ""
    v1_paths, unified = parse_proc_cgroup(text)
    for path in (unified or "", *v1_paths.values()):
        parts = path.split("/")
        for number, part in enumerate(parts):
            if _is_called_after(part, identity, prefixes):
                return "/".join(parts[: number + 1])
    return ""


def _is_called_after(part: str, identity: str, prefixes: Collection[str]) -> bool:
    name = part if part == identity else part.removesuffix(".scope")
    if not name.endswith(identity):
        return False
    before = name[: len(name) - len(identity)]
    if before.endswith(":"):
        return before[:-1].rpartition(":")[2] in prefixes
    return before in {f"{prefix}-" if prefix else "" for prefix in prefixes}


def own_path(pid: int, identity: str, proc: Path = Path("/proc"), prefixes: Collection[str] = PREFIXES) -> str:
    """The path of the cgroup called after a container's id in which its process lives; "" when it lives elsewhere."""
    try:
        return named((proc / str(pid) / "cgroup").read_text(errors="surrogateescape"), identity, prefixes)
    except OSError:
        return ""


def locate(hierarchies: Hierarchies, pid: int, *, within: str = "", proc: Path = Path("/proc")) -> Cgroup:
    """The cgroup of a container, found by a process of it: what is written there is for the container alone.

    As `around`, and without `within` what `own_part` leaves.
    """
    found = around(hierarchies, pid, within=within, proc=proc)
    return found if within else own_part(found, hierarchies)


def own_part(cgroup: Cgroup, hierarchies: Hierarchies) -> Cgroup:
    """Leave out a directory of the unified tree that is not this container's alone.

    On a hybrid host an engine may make v1 cgroups only; then the processes stay in the unified cgroup of their
    daemon, together with every other container. It is the container's when a v1 controller has the same path.
    """
    if cgroup.unified is None or hierarchies.unified is None or not cgroup.v1:
        return cgroup
    path = os.path.relpath(cgroup.unified, hierarchies.unified.path)
    below = [
        os.path.relpath(directory, mount.path)
        for name, directory in cgroup.v1.items()
        if (mount := hierarchies.v1.get(name)) is not None and directory != mount.path
    ]
    return cgroup if not below or path in below else replace(cgroup, unified=None, controllers=frozenset())


def around(hierarchies: Hierarchies, pid: int, *, within: str = "", proc: Path = Path("/proc")) -> Cgroup:
    """The cgroup in which a process lives now, whoever lives there with it, or the one above it called `within`.

    `within` is a path as /proc/<pid>/cgroup names it. A hierarchy in which the process lives elsewhere counts when a
    cgroup there has the same last name (runc run by hand makes them below its own, which differ); else it is left out:
    what is there belongs to others. `NO_OWN` says that nothing is the container's own: the result is empty.

    Raises `NotFoundError` when the process is gone, `PytopError` when it may not be looked at.
    """
    try:
        text = (proc / str(pid) / "cgroup").read_text(errors="surrogateescape")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFoundError.from_os(f"find the cgroup of process {pid}", error) from error
    except OSError as error:
        raise PytopError.from_os(f"find the cgroup of process {pid}", error) from error
    v1_paths, unified_path = parse_proc_cgroup(text)
    if within:
        own = {name: up_to(path, within) for name, path in v1_paths.items()}
        v1_paths = {name: path for name, path in own.items() if path is not None}
        unified_path = up_to(unified_path, within) if unified_path is not None else None
    return at(hierarchies, v1_paths, unified_path)


def up_to(path: str, within: str) -> str | None:
    """`path` as far as the cgroup `within`, or as far as one of that name; None when it does not lead there."""
    if within == NO_OWN:
        return None
    if path == within or path.startswith(within + "/"):
        return within
    parts = path.split("/")
    name = within.rpartition("/")[2]
    return "/".join(parts[: parts.index(name) + 1]) if name in parts else None


def at(hierarchies: Hierarchies, v1_paths: Mapping[str, str], unified_path: str | None) -> Cgroup:
    """Turn cgroup paths into the directories of this host."""
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
