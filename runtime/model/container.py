"""What an engine says about a container, and how containers and groups of them are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where a container is in its life; the words are Docker's."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"
    UNKNOWN = "unknown"

    @property
    def live(self) -> bool:
        """Has processes, so that counters and live limits exist."""
        return self in (State.RUNNING, State.PAUSED, State.STOPPING)


class ContainerRef(NamedTuple):
    """Names one container: the engine's key, the engine's full id, and the host, "" being this one.

    A named tuple, because it is the key of every mapping of every sweep: it hashes and compares in C.
    """

    engine: str
    id: str
    host: str = ""

    @property
    def short(self) -> str:
        """The beginning of the id, without its namespace."""
        return self.id.rpartition("/")[2][:12]


class ContainerKind(StrEnum):
    """What was found: a container, or something that looks like one to the kernel."""

    CONTAINER = "container"
    VM = "vm"  # a virtual machine: its cgroup holds the emulator
    SERVICE = "service"  # a systemd service, shown on request


class GroupKind(StrEnum):
    """What makes containers belong together."""

    COMPOSE = "compose project"
    POD = "pod"
    SLICE = "slice"  # they share a parent cgroup


class GroupRef(NamedTuple):
    """Names one group on a host, "" being this one; `engine` is empty for a slice, in which several may have theirs.

    Never equal to a `ContainerRef`: the two are tuples of different lengths.
    """

    kind: GroupKind
    name: str
    engine: str = ""
    host: str = ""

    @property
    def id(self) -> str:
        """One word for it, unique on its host."""
        return f"{self.kind.name.lower()}:{self.engine}:{self.name}"

    @property
    def short(self) -> str:
        """Its name, without the path of a slice."""
        return self.name.rpartition("/")[2] if self.kind is GroupKind.SLICE else self.name


Ref = ContainerRef | GroupRef  # names what is shown, measured and limited as one


@dataclass(frozen=True, slots=True)
class Port:
    """A published port."""

    container: int
    host: int | None = None
    address: str = ""
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class Container:
    """What an engine says about one container at one moment.

    Times are wall-clock nanoseconds since the epoch. `pid` is the host's pid of the container's
    init while it is live; its cgroup and namespaces are found from it. `cgroup` is the container's own cgroup as
    /proc/<pid>/cgroup names it, where its init may live in one below that (an init that makes cgroups of its own,
    a virtual machine's scope); empty when it is the one in which `pid` lives, "/" when it has none of its own, so that
    neither its use nor its limits can be told from those of others. `placed` is False when the cgroup above its own is
    where the engine puts whatever comes, so that being there together means nothing. `trusted` is False when its engine
    runs as another user without privileges: what it says hides nothing of anybody else's. `found` says how a container
    that no engine claims was found; it is empty for every other. `output_limited` is True while it waits because it
    prints faster than its engine logs.

    `unplaced` says why a live container has no cgroup of its own on this machine; it is empty for every other.
    `restarts` counts the restarts by its policy as its engine does, since the last start by a user; None where the
    engine does not tell. `last_exit_code` is how the run before the present one ended, of a container that its policy
    has restarted or is about to; None where nobody tells. `exit_code` is of one that has ended for good.
    """

    ref: ContainerRef
    name: str
    image: str
    state: State
    _: KW_ONLY
    pid: int | None = None
    command: tuple[str, ...] = ()
    created_ns: int = 0
    started_ns: int | None = None
    finished_ns: int | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    health: str = ""
    restart_policy: str = "no"
    restarts: int | None = None
    last_exit_code: int | None = None
    addresses: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    group: GroupRef | None = None  # compose project or pod, as its engine says
    error: str = ""  # why the engine could not start it
    kind: ContainerKind = ContainerKind.CONTAINER
    cgroup: str = ""
    placed: bool = True
    trusted: bool = True
    found: str = ""
    output_limited: bool = False
    unplaced: str = ""

    @property
    def group_name(self) -> str:
        """The group's name, empty when it is in none."""
        return self.group.name if self.group is not None else ""
