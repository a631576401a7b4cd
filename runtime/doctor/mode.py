"""What part of the cgroup tree is ours: all of it, a container's, or what systemd has delegated to a user."""

from __future__ import annotations

import os
import re
from pathlib import Path

from runtime.doctor.check import Check, Level
from runtime.kernel import cgroupfs, files

_WANTED = ("cpu", "memory", "pids", "cpuset", "io")
_USER = re.compile(r"(.*/user@\d+\.service)(?:/.*)?")
_NEEDS_ALL = "the embedded engine needs root"
# /proc/self/ns/cgroup of the host's first cgroup namespace, include/linux/proc_ns.h
_FIRST_NAMESPACE = "cgroup:[4026531835]"


def mode_check(found: cgroupfs.Hierarchies, *, proc: Path = Path("/proc"), uid: int | None = None) -> Check:
    """One line: where we are in the tree, which controllers are there, and what follows for limits."""
    _, own = cgroupfs.parse_proc_cgroup(_text(proc / "self/cgroup"))
    offered = _controllers(found)
    words = f"{found.mode.value}, controllers {' '.join(offered) or 'none'}"
    if (os.geteuid() if uid is None else uid) != 0:
        return _rootless(found, own or "/", words)
    if _nested(found, proc):
        lacking = [name for name in _WANTED if name not in offered]
        said = f"{words}; inside a container's own part of the tree"
        if lacking:
            remedy = "Delegate them to this container: no container in it can be limited by them"
            return Check("cgroups", "mode", Level.LIMITED, f"{said}, without {' '.join(lacking)}", remedy)
        return Check("cgroups", "mode", Level.GOOD, f"{said}: limits hold within those of that container")
    return Check("cgroups", "mode", Level.GOOD, f"{words}; the whole tree is ours, every container can be limited")


def _rootless(found: cgroupfs.Hierarchies, own: str, words: str) -> Check:
    """Not root: what lies below user@UID.service may be delegated, on cgroup v2 only."""
    match = _USER.fullmatch(own)
    directory = found.unified.of(match.group(1)) if found.unified is not None and match is not None else None
    if found.mode is not cgroupfs.Mode.V2 or directory is None or not os.access(directory / "cgroup.procs", os.W_OK):
        said = f"{words}; not root, and nothing is delegated: no limit can be written, {_NEEDS_ALL}"
        return Check("cgroups", "mode", Level.LIMITED, said, "Run it as root (sudo)")
    text = files.look(directory / "cgroup.controllers")
    delegated = text.split() if isinstance(text, str) else []
    said = f"{words}; not root: {' '.join(delegated) or 'no controller'} delegated, so limits of your own rootless"
    said = f"{said} containers can be written where these allow it, {_NEEDS_ALL}"
    lacking = " ".join(name for name in _WANTED if name not in delegated)
    remedy = f"For {lacking}: systemctl edit user@.service, [Service] Delegate={lacking}" if lacking else ""
    return Check("cgroups", "mode", Level.LIMITED, said, remedy or "Run it as root (sudo) for everybody's containers")


def _controllers(found: cgroupfs.Hierarchies) -> list[str]:
    """By the v2 names, those of the visible root."""
    there = {"io" if name == "blkio" else name for name in found.v1}
    if found.unified is not None:
        text = files.look(found.unified.path / "cgroup.controllers")
        there.update(text.split() if isinstance(text, str) else [])
    return [name for name in _WANTED if name in there]


def _nested(found: cgroupfs.Hierarchies, proc: Path) -> bool:
    """A part of the tree is mounted as if it were all of it, or we are in a cgroup namespace of our own."""
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
