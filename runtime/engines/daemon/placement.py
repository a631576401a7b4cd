"""Which cgroup of this machine is a container's own: an engine's statement about its process, checked in the kernel."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from runtime.engines.daemon.peer import Peer
from runtime.errors import NotFoundError, PytopError
from runtime.kernel import command_line, own_cgroup, ownership, procfs
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.kernel.visibility import OUTSIDE, Visibility, visibility, why_in_container
from runtime.model import Container

DOCKER: Final = ("", "docker")
PODMAN: Final = ("libpod", "libpod-payload")
"""Prefixes of the id in the name of a container's cgroup (see `own_cgroup.named`)."""
_OUTSIDE_OF_TREE: Final = "its cgroup is outside of the part of the tree that is mounted here"
_ID: Final = re.compile(r"[0-9a-f]{64}")
MAX_DIRECTORIES: Final = 4096  # of the cgroup tree that are searched for containers whose pid is not known


def place(
    containers: Sequence[Container],
    peer: Peer,
    prefixes: Collection[str],
    hierarchies: Hierarchies,
    proc: Path = procfs.PROC,
) -> list[Container]:
    """As `placed`, for all; a live one whose engine did not tell a pid is looked for in the cgroup tree. Blocking."""
    lost = [each.ref.id for each in containers if each.state.live and each.pid is None and _ID.fullmatch(each.ref.id)]
    pids = find_processes(lost, prefixes, hierarchies) if lost and not peer.remote else {}
    known = (replace(each, pid=pids[each.ref.id]) if each.ref.id in pids else each for each in containers)
    return [placed(each, peer, prefixes, hierarchies, proc) for each in known]


def find_processes(
    identities: Collection[str], prefixes: Collection[str], hierarchies: Hierarchies
) -> Mapping[str, int]:
    """A process of each container that has a cgroup named after it. Blocking."""
    found: dict[str, int] = {}
    for mount in {mount.path: mount for mount in (hierarchies.unified, *hierarchies.v1.values()) if mount}.values():
        missing = [identity for identity in identities if identity not in found]
        if missing:
            found.update(_find_below(mount.path, missing, prefixes))
    return found


def _find_below(top: Path, identities: Collection[str], prefixes: Collection[str]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    waiting: deque[tuple[Path, str]] = deque([(top, "")])  # with the container whose cgroup is this one or above
    seen = 0
    while waiting and seen < MAX_DIRECTORIES and len(found) < len(identities):
        directory, owner = waiting.popleft()
        seen += 1
        if owner and owner not in found and (pid := _first_process(directory)):
            found[owner] = pid
        for name in _subdirectories(directory):
            inner = (each for each in identities if own_cgroup.is_named_after(name, each, prefixes))
            waiting.append((directory / name, owner or next(inner, "")))
    return found


def _first_process(directory: Path) -> int:
    """0 for none."""
    try:
        words = (directory / "cgroup.procs").read_text().split()
    except OSError:  # removed meanwhile, or threaded
        return 0
    return int(words[0]) if words else 0


def _subdirectories(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # removed meanwhile
        return []


def placed(
    container: Container,
    peer: Peer,
    prefixes: Collection[str],
    hierarchies: Hierarchies,
    proc: Path = procfs.PROC,
) -> Container:
    """The container with the path of its own cgroup, or with the reason why it has none on this machine.

    The last part of the path is the engine's name for a cgroup of this id, for any cgroup driver and parent; processes
    may be below it. Process and cgroup of an untrusted `peer` must belong to its user. Blocking.
    """
    pid, own = container.pid, ""
    if pid is not None and _ID.fullmatch(container.ref.id):
        own = own_cgroup.own_path(pid, container.ref.id, proc, prefixes)
    return with_own_cgroup(container, own, peer, hierarchies, proc)


def with_own_cgroup(
    container: Container, own: str, peer: Peer, hierarchies: Hierarchies, proc: Path = procfs.PROC
) -> Container:
    """The container with `own` as the path of its cgroup, "" where none is called after it.

    Where there is none on this machine, or none that this program can reach, `unplaced` says why. Its process stays
    known where it is certainly the container's, for what needs no cgroup. Blocking.
    """
    checked, pid = replace(container, trusted=peer.trusted), container.pid
    reachable = bool(own) and not own.startswith(OUTSIDE)
    if pid is not None and reachable and may_name(peer, pid, own, hierarchies, proc):
        return replace(checked, cgroup=own)
    if not container.state.live:
        return replace(checked, pid=None)
    seen = visibility(hierarchies, proc=proc)
    if pid is None:
        return replace(checked, unplaced=_of_no_process(peer, seen))
    if not peer.trusted:
        return replace(checked, pid=None, unplaced=f"process {pid} is none of the user's as whom its engine runs")
    if own and not reachable:
        return replace(checked, cgroup=own_cgroup.NO_OWN, unplaced=why_in_container(seen) or _OUTSIDE_OF_TREE)
    if _is_child_of_monitor(pid, container.ref.id.rpartition("/")[2], proc):
        return replace(checked, cgroup=own_cgroup.NO_OWN, unplaced=own_cgroup.why_not_own(pid, proc))
    return replace(checked, pid=None, unplaced=_of_another(pid, peer, seen, proc))


def _is_child_of_monitor(pid: int, identity: str, proc: Path) -> bool:
    """Whether its parent was started with the container's id: containerd's shim or conmon, on this machine."""
    arguments = command_line.read(procfs.parent(pid, proc=proc), proc=proc) or b""
    return os.fsencode(identity) in arguments.split(b"\0")


def _of_no_process(peer: Peer, seen: Visibility) -> str:
    """Why no process is known of a live container."""
    if peer.remote:
        return "its engine is reached over the network and may run on another machine"
    return (
        why_in_container(seen) or "its engine has not told which process is its first, and no cgroup is named after it"
    )


def _of_another(pid: int, peer: Peer, seen: Visibility, proc: Path) -> str:
    """Why the process that its engine names is not taken for the container's."""
    if (why := why_in_container(seen)) and seen.own_pids:
        return why
    if peer.remote:
        return _of_no_process(peer, seen)
    if procfs.state(pid, proc=proc) is not None:
        return f"process {pid} of this machine is another one: its engine runs in a virtual machine or a container"
    if seen.hidepid:
        return "its processes are hidden from this user: /proc is mounted with hidepid. Run it as root (sudo)"
    return f"there is no process {pid} on this machine: its engine runs in a virtual machine or a container"


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
    if container.pid is None or not container.state.live or container.cgroup == own_cgroup.NO_OWN:
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
