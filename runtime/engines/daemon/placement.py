"""Which cgroup of this machine is a container's own: what an engine says of its process, held against the kernel."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

from runtime.engines.daemon.peer import Peer
from runtime.errors import NotFoundError, PytopError
from runtime.kernel import own_cgroup, ownership, procfs
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.model import Container

DOCKER: Final = ("", "docker")
PODMAN: Final = ("libpod", "libpod-payload")
"""What stands before the id in the name of a container's cgroup (see `own_cgroup.named`)."""
_ID: Final = re.compile(r"[0-9a-f]{64}")


def placed(
    container: Container,
    peer: Peer,
    prefixes: Collection[str],
    hierarchies: Hierarchies,
    proc: Path = procfs.PROC,
) -> Container:
    """The container with the path of its own cgroup, or without its pid where that is not of this machine (a VM's).

    The last part of that path is the engine's name for a cgroup of this id, whatever the cgroup driver and parent are;
    its processes may live below. Of an untrusted `peer` the process and that cgroup must be its user's. Blocking.
    """
    pid, own = container.pid, ""
    if pid is not None and _ID.fullmatch(container.ref.id):
        own = own_cgroup.own_path(pid, container.ref.id, proc, prefixes)
    if pid is not None and own and not may_name(peer, pid, own, hierarchies, proc):
        own = ""
    found = replace(container, trusted=peer.trusted)
    return replace(found, cgroup=own) if own else replace(found, pid=None)


def may_name(peer: Peer, pid: int, own: str, hierarchies: Hierarchies, proc: Path = procfs.PROC) -> bool:
    """Whether `peer` is to be believed that this process is a container's whose cgroup is `own`. Blocking."""
    if peer.trusted:
        return True
    if not own:
        return False
    try:
        return _is_the_peers(peer, pid, own_cgroup.locate(hierarchies, pid, within=own, proc=proc), hierarchies, proc)
    except PytopError:  # it is gone, or may not be looked at
        return False


def cgroup_of(container: Container, peer: Peer, hierarchies: Hierarchies) -> Cgroup | None:
    """The cgroup of a live, placed container; None when it has none on this machine. Blocking."""
    if container.pid is None or not container.state.live:
        return None
    try:
        found = own_cgroup.locate(hierarchies, container.pid, within=container.cgroup)
    except NotFoundError:
        return None
    # Checked again: the process may have ended since, and its pid may be another one's.
    return found if peer.trusted or _is_the_peers(peer, container.pid, found, hierarchies, procfs.PROC) else None


def _is_the_peers(peer: Peer, pid: int, cgroup: Cgroup, hierarchies: Hierarchies, proc: Path) -> bool:
    return (
        peer.user is not None
        and ownership.is_process_of(peer.user, pid, proc=proc)
        and ownership.is_cgroup_of(peer.user, cgroup, hierarchies, proc=proc)
    )
