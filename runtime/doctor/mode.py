"""What part of the cgroup tree is ours: all of it, a container's, or what systemd has delegated to a user."""

from __future__ import annotations

import os
from pathlib import Path

from runtime.doctor.check import Check, Level
from runtime.kernel import cgroupfs, delegation, files

_WANTED = ("cpu", "memory", "pids", "cpuset", "io")
_EMPTY_IT = "Have the container's first process move itself into a cgroup below it, as docker:dind does"
_ABOVE = "have root enable in each cgroup.subtree_control above it "
_NEEDS_ALL = "the embedded engine needs root"
# /proc/self/ns/cgroup of the host's first cgroup namespace, include/linux/proc_ns.h
_FIRST_NAMESPACE = "cgroup:[4026531835]"


def mode_check(found: cgroupfs.Hierarchies, *, proc: Path = Path("/proc"), uid: int | None = None) -> Check:
    """One line: where we are in the tree, which controllers are there, and what follows for limits."""
    offered = _controllers(found)
    words = f"{found.mode.value}, controllers {' '.join(offered) or 'none'}"
    user = os.geteuid() if uid is None else uid
    if user != 0:
        return _rootless(found, delegated(found, user, proc=proc), words)
    if _nested(found, proc):
        lacking = [name for name in _WANTED if name not in offered]
        said = f"{words}; inside a container's own part of the tree"
        without, why = _not_enabled(found), delegation.why_no_controllers(found, proc=proc)
        if without and why is not None:
            level = Level.LIMITED if without <= {"cpuset", "io"} else Level.BROKEN
            names = " ".join(name for name in offered if name in without)
            return Check("cgroups", "mode", level, f"{said}, where no cgroup can have {names}: {why}", _EMPTY_IT)
        if without and found.unified is not None and delegation.has_processes(found.unified.path):
            said = f"{said}, whose processes go into its leaf {delegation.LEAF_NAME} when a container is started"
        if lacking:
            remedy = "Delegate them to this container: no container in it can be limited by them"
            return Check("cgroups", "mode", Level.LIMITED, f"{said}, without {' '.join(lacking)}", remedy)
        return Check("cgroups", "mode", Level.GOOD, f"{said}: limits hold within those of that container")
    return Check("cgroups", "mode", Level.GOOD, f"{words}; the whole tree is ours, every container can be limited")


def delegated(found: cgroupfs.Hierarchies, uid: int, *, proc: Path = Path("/proc")) -> Path | None:
    """The top of what is delegated to this user, who is not root, on cgroup v2 only.

    Around the cgroup that we are in; or else systemd's user@UID.service, which a login is not in.
    """
    if found.mode is not cgroupfs.Mode.V2 or found.unified is None:
        return None
    service = found.unified.of(f"/user.slice/user-{uid}.slice/user@{uid}.service")
    for start in (delegation.own_directory(found, proc=proc), service):
        above = [start, *start.parents] if start is not None else []
        ours = [path for path in above if path.is_relative_to(found.unified.path) and _given(path)]
        if ours:
            return ours[-1]
    return None


def _given(directory: Path) -> bool:
    """What has to be writable for a user to make cgroups, fill them and hand controllers on."""
    needed = (directory, directory / "cgroup.procs", directory / "cgroup.subtree_control")
    return all(os.access(path, os.W_OK, effective_ids=True) for path in needed)


def _rootless(found: cgroupfs.Hierarchies, directory: Path | None, words: str) -> Check:
    if directory is None or found.unified is None:
        said = f"{words}; not root, and nothing is delegated: no limit can be written, {_NEEDS_ALL}"
        return Check("cgroups", "mode", Level.LIMITED, said, "Run it as root (sudo)")
    text = files.try_read(directory / "cgroup.controllers")
    there = text.split() if isinstance(text, str) else []
    name = f"/{directory.relative_to(found.unified.path)}"
    said = f"{words}; not root: {' '.join(there) or 'no controller'} delegated below {name}, so limits of your own"
    said = f"{said} rootless containers can be written where these allow it, {_NEEDS_ALL}"
    lacking = " ".join(wanted for wanted in _WANTED if wanted not in there)
    how = "systemctl edit user@.service, [Service] Delegate=" if directory.name.startswith("user@") else _ABOVE
    remedy = f"For {lacking}: {how}{lacking}" if lacking else ""
    return Check("cgroups", "mode", Level.LIMITED, said, remedy or "Run it as root (sudo) for everybody's containers")


def _not_enabled(found: cgroupfs.Hierarchies) -> set[str]:
    """The controllers of v2 that the top has, and that nothing below it has yet."""
    if found.unified is None or found.mode is not cgroupfs.Mode.V2:
        return set()
    enabled = files.try_read(found.unified.path / "cgroup.subtree_control")
    return set(_controllers(found)) - set(enabled.split() if isinstance(enabled, str) else [])


def _controllers(found: cgroupfs.Hierarchies) -> list[str]:
    """By the v2 names, those of the visible root."""
    there = {"io" if name == "blkio" else name for name in found.v1}
    if found.unified is not None:
        text = files.try_read(found.unified.path / "cgroup.controllers")
        there.update(text.split() if isinstance(text, str) else [])
    return [name for name in _WANTED if name in there]


def _nested(found: cgroupfs.Hierarchies, proc: Path) -> bool:
    """A part of the tree is mounted as if it were all of it, or we are in a cgroup namespace of our own."""
    if found.unified is not None and (found.unified.path / "cgroup.type").exists():
        return True  # a real root has no type
    mounts = [*found.v1.values(), *([found.unified] if found.unified is not None else [])]
    if any(mount.root != "/" for mount in mounts):
        return True
    try:
        return os.readlink(proc / "self/ns/cgroup") != _FIRST_NAMESPACE
    except OSError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""
