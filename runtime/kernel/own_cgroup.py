"""Decides which cgroup is a container's own, or a group's own.

A container's own cgroup contains its processes and no others, so counters read there and limits written there concern
it alone. An engine names the cgroup by the container's id or by a path; the kernel says where the process is.
A group's own cgroup contains the cgroups of its containers and no other processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from runtime.errors import NotFoundError, PytopError
from runtime.kernel import cgroupfs, cgroups, files
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.kernel.procfs import PROC

NO_OWN: Final = "/"
"""The path recorded for a container without a cgroup of its own. The root is never one, so its path is used."""
MAX_CGROUPS: Final = 4096  # checked below a group; with more of them it does not count as exclusive
PREFIXES: Final = ("", "docker", "libpod", "libpod-payload", "crio", "cri-containerd", "nerdctl")
"""Prefixes of the container's id in the names of engines' cgroups; "" for no prefix."""


def named(text: str, identity: str, prefixes: Collection[str] = PREFIXES) -> str:
    """The path in /proc/<pid>/cgroup up to the cgroup that is named after a container's id; "" when there is none.

    The whole name must match: ID, PREFIX-ID, or PREFIX:ID (systemd's form, used literally by a cgroupfs driver), each
    with or without ".scope". Processes may be in a child cgroup: crun puts them into "container" on cgroup v2, and an
    init system creates its own cgroups.
    """
    if not identity:
        return ""
    v1_paths, unified = cgroupfs.parse_proc_cgroup(text)
    for path in (unified or "", *v1_paths.values()):
        parts = path.split("/")
        for number, part in enumerate(parts):
            if is_named_after(part, identity, prefixes):
                return "/".join(parts[: number + 1])
    return ""


def is_named_after(part: str, identity: str, prefixes: Collection[str] = PREFIXES) -> bool:
    """Whether a cgroup of this name, without the path above it, is named after a container's id as `named` says."""
    name = part if part == identity else part.removesuffix(".scope")
    if not name.endswith(identity):
        return False
    before = name[: len(name) - len(identity)]
    if before.endswith(":"):
        return before[:-1].rpartition(":")[2] in prefixes
    return before in {f"{prefix}-" if prefix else "" for prefix in prefixes}


def own_path(pid: int, identity: str, proc: Path = PROC, prefixes: Collection[str] = PREFIXES) -> str:
    """The path of the process's cgroup that is named after the container's id; "" when it is in no such cgroup."""
    try:
        return named((proc / str(pid) / "cgroup").read_text(errors="surrogateescape"), identity, prefixes)
    except OSError:
        return ""


def why_not_own(pid: int, proc: Path = PROC) -> str:
    """In words, which cgroup a container's first process is in that is not called after it; "" when it has ended."""
    try:
        v1, unified = cgroupfs.parse_proc_cgroup((proc / str(pid) / "cgroup").read_text(errors="replace"))
    except OSError:
        return ""
    path = next((path for path in (*v1.values(), unified or "/") if path != "/"), "/")
    return f"its first process {pid} was moved to the cgroup {path}, which is not its own: only processes are counted"


def locate(hierarchies: Hierarchies, pid: int, *, within: str = "", proc: Path = PROC) -> Cgroup:
    """A container's own cgroup, found through one of its processes.

    With `within` (the path of that cgroup) as `cgroup_of_process`; without it, reduced by `own_part`.
    """
    cgroup = cgroup_of_process(hierarchies, pid, within=within, proc=proc)
    return cgroup if within else own_part(cgroup, hierarchies)


def own_part(cgroup: Cgroup, hierarchies: Hierarchies) -> Cgroup:
    """The cgroup without its directory in the unified tree if that one is shared with others.

    On a hybrid host an engine may create v1 cgroups only; the processes then stay in the unified cgroup of the daemon,
    with every other container. The unified cgroup is the container's own when a v1 controller has the same path.
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


def cgroup_of_process(hierarchies: Hierarchies, pid: int, *, within: str = "", proc: Path = PROC) -> Cgroup:
    """The cgroup that a process is in now, shared or not, or its ancestor `within`.

    `within` is a path as /proc/<pid>/cgroup writes it. In a hierarchy where the process is elsewhere, an ancestor with
    the same last name counts (runc run by hand makes cgroups below its own, whose paths differ); without one that
    hierarchy is left out, since its cgroup belongs to others. With `NO_OWN` the result is empty.

    Raises `NotFoundError` when the process is gone, `PytopError` when it may not be read.
    """
    try:
        text = (proc / str(pid) / "cgroup").read_text(errors="surrogateescape")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFoundError.from_os(f"find the cgroup of process {pid}", error) from error
    except OSError as error:
        raise PytopError.from_os(f"find the cgroup of process {pid}", error) from error
    v1_paths, unified_path = cgroupfs.parse_proc_cgroup(text)
    if within:
        own = {name: up_to(path, within) for name, path in v1_paths.items()}
        v1_paths = {name: path for name, path in own.items() if path is not None}
        unified_path = up_to(unified_path, within) if unified_path is not None else None
    return cgroupfs.at(hierarchies, v1_paths, unified_path)


def up_to(path: str, within: str) -> str | None:
    """`path` cut after the cgroup `within`, or after one with the same last name; None when it is not below either."""
    if within == NO_OWN:
        return None
    if path == within or path.startswith(within + "/"):
        return within
    parts = path.split("/")
    name = within.rpartition("/")[2]
    return "/".join(parts[: parts.index(name) + 1]) if name in parts else None


def own_cgroup(hierarchies: Hierarchies, pid: int, path: str, *, proc: Path = PROC) -> Cgroup | None:
    """As `locate` with the path of the container's own cgroup; None when the process has ended."""
    try:
        return locate(hierarchies, pid, within=path, proc=proc)
    except NotFoundError:
        return None


def at_path(path: str, hierarchies: Hierarchies) -> Cgroup | None:
    """The cgroup of this path, in every hierarchy that has one; None when none has."""
    v1 = {
        name: path
        for name, mount in hierarchies.v1.items()
        if (directory := mount.of(path)) is not None and files.exists(directory) is True
    }
    unified = hierarchies.unified.of(path) if hierarchies.unified is not None else None
    cgroup = cgroupfs.at(hierarchies, v1, path if unified is not None and files.exists(unified) is True else None)
    return cgroup if cgroup.directories else None


def of_group(
    paths: Sequence[str],
    hierarchies: Hierarchies,
    *,
    is_common: Callable[[str], bool],
    is_monitor: Callable[[str], bool],
) -> str:
    """The deepest common ancestor of these cgroups, if it contains no other processes; "" when there is none.

    `is_common` says whether engines put unrelated containers below a path; `is_monitor` says by a directory's name
    whether it holds the monitor processes of a member (conmon), which count as the member's.
    """
    if not paths:
        return ""
    above = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120  (a cgroup's path)
    if above in ("", "/") or is_common(above):
        return ""
    cgroup = at_path(above, hierarchies)
    below = [os.path.relpath(path, above) for path in paths]
    alone = cgroup is not None and all(
        _is_exclusive(top, {top / name for name in below}, is_monitor) for top in cgroup.directories
    )
    return above if alone else ""


def _is_exclusive(top: Path, members: Collection[Path], is_monitor: Callable[[str], bool]) -> bool:
    """Whether no process lives at or below `top`, except in `members` and their monitors."""
    waiting, seen = [top], 0
    while waiting:
        directory = waiting.pop()
        if directory in members or is_monitor(directory.name):
            continue
        seen += 1
        if seen > MAX_CGROUPS:
            return False
        try:
            if (directory / "cgroup.procs").read_bytes().strip():
                return False
            waiting += [Path(entry.path) for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            continue  # removed meanwhile
        except OSError:
            return False  # its processes are unknown
    return True


def of_processes(
    process_paths: Iterable[tuple[Mapping[str, str], str | None]],
    hierarchies: Hierarchies,
    belongs: Callable[[int], bool],
    *,
    first: Sequence[str] = (),
) -> str:
    """The deepest cgroup that contains all of some processes and none that does not belong to them; else `NO_OWN`.

    `process_paths` are the cgroup paths of each process, in v1 by controller and in the unified tree. `first` are the
    v1 controllers that are tried first. `belongs` is called for every process in a candidate.
    """
    paths: dict[str, list[str]] = {}  # by controller, "" for the unified tree
    for v1, unified in process_paths:
        for name, path in {**({} if unified is None else {"": unified}), **v1}.items():
            paths.setdefault(name, []).append(path)
    common = {name: os.path.commonpath(members) for name, members in paths.items()}
    for name in ("", *first, *common):
        path = common.get(name, "/")
        mount = hierarchies.v1.get(name) if name else hierarchies.unified
        directory = mount.of(path) if mount is not None and path != "/" else None
        pids = cgroups.known_pids(Cgroup({"": directory})) if directory is not None else None
        if pids is not None and all(belongs(pid) for pid in pids):
            return path
    return NO_OWN
