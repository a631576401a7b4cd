"""Which part of the cgroup tree this process can manage: all, a container's, or a subtree delegated to a user."""

from __future__ import annotations

import os
from pathlib import Path

from runtime.doctor.check import Check, Level
from runtime.kernel import cgroupfs, delegation, files

_WANTED_CONTROLLERS = ("cpu", "memory", "pids", "cpuset", "io")
_MOVE_PROCESSES = "Have the container's first process move itself into a cgroup below it, as docker:dind does"
_ABOVE = "have root enable in each cgroup.subtree_control above it "
_NEEDS_ROOT = "the embedded engine needs root"
# /proc/self/ns/cgroup of the host's first cgroup namespace, include/linux/proc_ns.h
_FIRST_NAMESPACE = "cgroup:[4026531835]"


def mode_check(hierarchies: cgroupfs.Hierarchies, *, proc: Path = Path("/proc"), uid: int | None = None) -> Check:
    """One check: the part of the tree, its controllers, and which limits can be set."""
    offered = _controllers(hierarchies)
    words = f"{hierarchies.mode.value}, controllers {' '.join(offered) or 'none'}"
    user = os.geteuid() if uid is None else uid
    if user != 0:
        return _rootless(hierarchies, delegated(hierarchies, user, proc=proc), words)
    if _nested(hierarchies, proc):
        missing = [name for name in _WANTED_CONTROLLERS if name not in offered]
        summary = f"{words}; inside a container's own part of the tree"
        without, why = _not_enabled(hierarchies), delegation.why_no_controllers(hierarchies, proc=proc)
        if without and why is not None:
            level = Level.LIMITED if without <= {"cpuset", "io"} else Level.BROKEN
            names = " ".join(name for name in offered if name in without)
            return Check(
                "cgroups", "mode", level, f"{summary}, where no cgroup can have {names}: {why}", _MOVE_PROCESSES
            )
        if without and hierarchies.unified is not None and delegation.has_processes(hierarchies.unified.path):
            summary = f"{summary}, whose processes go into its leaf {delegation.LEAF_NAME} when a container is started"
        if missing:
            remedy = "Delegate them to this container: no container in it can be limited by them"
            return Check("cgroups", "mode", Level.LIMITED, f"{summary}, without {' '.join(missing)}", remedy)
        return Check("cgroups", "mode", Level.GOOD, f"{summary}: limits hold within those of that container")
    return Check("cgroups", "mode", Level.GOOD, f"{words}; the whole tree is ours, every container can be limited")


def delegated(hierarchies: cgroupfs.Hierarchies, uid: int, *, proc: Path = Path("/proc")) -> Path | None:
    """The highest cgroup that is delegated to this user, who is not root; on cgroup v2 only.

    It is an ancestor of this process's cgroup, or else systemd's user@UID.service, which a login session is not in.
    """
    if hierarchies.mode is not cgroupfs.Mode.V2 or hierarchies.unified is None:
        return None
    service = hierarchies.unified.of(f"/user.slice/user-{uid}.slice/user@{uid}.service")
    for start in (delegation.own_directory(hierarchies, proc=proc), service):
        above = [start, *start.parents] if start is not None else []
        writable = [path for path in above if path.is_relative_to(hierarchies.unified.path) and _is_delegated(path)]
        if writable:
            return writable[-1]
    return None


def _is_delegated(directory: Path) -> bool:
    """Whether everything is writable that a user needs to create cgroups, move processes and enable controllers."""
    needed = (directory, directory / "cgroup.procs", directory / "cgroup.subtree_control")
    return all(os.access(path, os.W_OK, effective_ids=True) for path in needed)


def _rootless(hierarchies: cgroupfs.Hierarchies, directory: Path | None, words: str) -> Check:
    if directory is None or hierarchies.unified is None:
        summary = f"{words}; not root, and nothing is delegated: no limit can be written, {_NEEDS_ROOT}"
        return Check("cgroups", "mode", Level.LIMITED, summary, "Run it as root (sudo)")
    text = files.try_read(directory / "cgroup.controllers")
    controllers = text.split() if isinstance(text, str) else []
    name = f"/{directory.relative_to(hierarchies.unified.path)}"
    summary = (
        f"{words}; not root: {' '.join(controllers) or 'no controller'} delegated below {name}, so limits of your own"
    )
    summary = f"{summary} rootless containers can be written where these allow it, {_NEEDS_ROOT}"
    missing = " ".join(wanted for wanted in _WANTED_CONTROLLERS if wanted not in controllers)
    how = "systemctl edit user@.service, [Service] Delegate=" if directory.name.startswith("user@") else _ABOVE
    remedy = f"For {missing}: {how}{missing}" if missing else ""
    return Check(
        "cgroups", "mode", Level.LIMITED, summary, remedy or "Run it as root (sudo) for everybody's containers"
    )


def _not_enabled(hierarchies: cgroupfs.Hierarchies) -> set[str]:
    """The v2 controllers of the root that are not enabled for its children."""
    if hierarchies.unified is None or hierarchies.mode is not cgroupfs.Mode.V2:
        return set()
    enabled = files.try_read(hierarchies.unified.path / "cgroup.subtree_control")
    return set(_controllers(hierarchies)) - set(enabled.split() if isinstance(enabled, str) else [])


def _controllers(hierarchies: cgroupfs.Hierarchies) -> list[str]:
    """The wanted controllers of the visible root, by their v2 names."""
    controllers = {"io" if name == "blkio" else name for name in hierarchies.v1}
    if hierarchies.unified is not None:
        text = files.try_read(hierarchies.unified.path / "cgroup.controllers")
        controllers.update(text.split() if isinstance(text, str) else [])
    return [name for name in _WANTED_CONTROLLERS if name in controllers]


def _nested(hierarchies: cgroupfs.Hierarchies, proc: Path) -> bool:
    """Whether only a part of the tree is mounted, or this process is in a cgroup namespace other than the host's."""
    if hierarchies.unified is not None and (hierarchies.unified.path / "cgroup.type").exists():
        return True  # the root cgroup has no cgroup.type
    mounts = [*hierarchies.v1.values(), *([hierarchies.unified] if hierarchies.unified is not None else [])]
    if any(mount.root != "/" for mount in mounts):
        return True
    try:
        return os.readlink(proc / "self/ns/cgroup") != _FIRST_NAMESPACE
    except OSError:
        return False
