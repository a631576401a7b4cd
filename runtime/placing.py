"""Which cgroup of this machine is a container's own: what an engine says of its process, held against the kernel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runtime.errors import NotFoundError
from runtime.kernel import cgroupfs
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.model import Container


def placed(container: Container, proc: Path = Path("/proc")) -> Container:
    """With the path of its own cgroup, or without its pid: the pid of a daemon in a VM means nothing here.

    The container's id is in the cgroup path of its process, whatever the cgroup driver and parent are, and its
    processes may live below that cgroup. Blocking.
    """
    own = cgroupfs.own_path(container.pid, container.ref.id, proc) if container.pid is not None else ""
    return replace(container, cgroup=own) if own else replace(container, pid=None)


def own_cgroup(container: Container, hierarchies: Hierarchies) -> Cgroup | None:
    """The cgroup of a live, placed container; None when it has none on this machine. Blocking."""
    if container.pid is None or not container.state.live:
        return None
    try:
        return cgroupfs.locate(hierarchies, container.pid, within=container.cgroup)
    except NotFoundError:
        return None
