"""Which cgroup of this machine is a container's own: an engine's statement about its process, checked in the kernel."""

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
"""Prefixes of the id in the name of a container's cgroup (see `own_cgroup.named`)."""
_ID: Final = re.compile(r"[0-9a-f]{64}")


def placed(
    container: Container,
    peer: Peer,
    prefixes: Collection[str],
    hierarchies: Hierarchies,
    proc: Path = procfs.PROC,
) -> Container:
    """The container with the path of its own cgroup, or without its pid when that is not of this machine (in a VM).

    The last part of the path is the engine's name for a cgroup of this id, for any cgroup driver and parent; processes
    may be below it. Process and cgroup of an untrusted `peer` must belong to its user. Blocking.
    """
    pid, own = container.pid, ""
    if pid is not None and _ID.fullmatch(container.ref.id):
        own = own_cgroup.own_path(pid, container.ref.id, proc, prefixes)
    if pid is not None and own and not may_name(peer, pid, own, hierarchies, proc):
        own = ""
    checked = replace(container, trusted=peer.trusted)
    return replace(checked, cgroup=own) if own else replace(checked, pid=None)


def may_name(peer: Peer, pid: int, own: str, hierarchies: Hierarchies, proc: Path = procfs.PROC) -> bool:
    """Whether `peer` may name this process as a container's with the own cgroup `own`. Blocking."""
    if peer.trusted:
        return True
    if not own:
        return False
    try:
        return _is_the_peers(peer, pid, own_cgroup.locate(hierarchies, pid, within=own, proc=proc), hierarchies, proc)
    except PytopError:  # the process has ended or may not be inspected
        return False


def cgroup_of(container: Container, peer: Peer, hierarchies: Hierarchies) -> Cgroup | None:
    """The cgroup of a live, placed container; None when it has none on this machine. Blocking."""
    if container.pid is None or not container.state.live:
        return None
    try:
        cgroup = own_cgroup.locate(hierarchies, container.pid, within=container.cgroup)
    except NotFoundError:
        return None
    # Checked again: the process may have ended, and its pid may belong to another one.
    return cgroup if peer.trusted or _is_the_peers(peer, container.pid, cgroup, hierarchies, procfs.PROC) else None


def _is_the_peers(peer: Peer, pid: int, cgroup: Cgroup, hierarchies: Hierarchies, proc: Path) -> bool:
    return (
        peer.user is not None
        and ownership.is_process_of(peer.user, pid, proc=proc)
        and ownership.is_cgroup_of(peer.user, cgroup, hierarchies, proc=proc)
    )
