"""What of this machine the program cannot see because of where it was started: in a container, or below a hidden /proc.

The initial namespaces have fixed inode numbers. Sources: include/uapi/linux/nsfs.h (init_ns_ino), proc(5) on hidepid,
cgroup_namespaces(7).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.kernel import procfs
from runtime.kernel.cgroupfs import Hierarchies
from runtime.kernel.procfs import PROC

INITIAL_INODES: Final = {"cgroup": 0xEFFFFFFB, "pid": 0xEFFFFFFC}
OUTSIDE: Final = "/.."
"""The beginning of a path in /proc/<pid>/cgroup of a process outside the reader's cgroup namespace."""
_HIDING: Final = ("hidepid=1", "hidepid=2", "hidepid=4", "hidepid=noaccess", "hidepid=invisible", "hidepid=ptraceable")
_CGROUPS: Final = "-v /sys/fs/cgroup:/sys/fs/cgroup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """What is hidden.

    Attributes:
        own_pids: it is in a PID namespace of its own, so processes outside have no number here.
        own_cgroups: it is in a cgroup namespace of its own, so cgroups outside have no path here.
        part_of_tree: only a part of the cgroup tree is mounted.
        hidepid: other users' processes are hidden by the mount options of /proc.
    """

    own_pids: bool = False
    own_cgroups: bool = False
    part_of_tree: bool = False
    hidepid: bool = False

    @property
    def missing_options(self) -> tuple[str, ...]:
        """The options of `docker run` (Podman has the same) with which it would see the machine's containers."""
        options = [("--cgroupns=host", self.own_cgroups), ("--pid=host", self.own_pids)]
        options.append((_CGROUPS, self.own_cgroups or self.part_of_tree))
        return tuple(option for option, missing in options if missing)


def visibility(hierarchies: Hierarchies, *, proc: Path = PROC) -> Visibility:
    """Look at this process's namespaces and mounts; what cannot be read counts as the machine's own."""
    inodes = procfs.namespaces("self", proc=proc)
    own = {name: inodes.get(name, initial) != initial for name, initial in INITIAL_INODES.items()}
    mounts = (*hierarchies.v1.values(), *((hierarchies.unified,) if hierarchies.unified is not None else ()))
    return Visibility(
        own_pids=own["pid"],
        own_cgroups=own["cgroup"],
        part_of_tree=any(mount.root != "/" for mount in mounts),
        hidepid=_is_hidden(proc),
    )


def why_in_container(seen: Visibility) -> str:
    """In one line, why what runs outside this program's container cannot be measured; "" when it is in none."""
    if not (seen.own_pids or seen.own_cgroups):
        return ""
    return f"{hidden_in_container(seen)}: start it with docker run {' '.join(seen.missing_options)}"


def hidden_in_container(seen: Visibility) -> str:
    """What the container in which this program is hides from it."""
    hidden = " and ".join(
        word for word, is_hidden in (("cgroups", seen.own_cgroups), ("processes", seen.own_pids)) if is_hidden
    )
    return f"this program runs in a container that hides the machine's {hidden}"


def _is_hidden(proc: Path) -> bool:
    """Whether the last mount at /proc hides other users' processes. An option of gid= lets a group see them."""
    try:
        text = (proc / "self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return False
    options = [mount.super_options.split(",") for mount in procfs.parse_mountinfo(text) if mount.target == "/proc"]
    return bool(options) and any(option in _HIDING for option in options[-1])
