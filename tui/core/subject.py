"""What can be shown, measured and limited as one: a container, or a group of containers.

Both implement `Subject`. How the limits of each are found in the kernel is in `LimitTarget`.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, Protocol

from runtime.model import Container, ContainerRef, GroupRef, Ref, State


class Subject(Protocol):
    """A container or a group; the attributes are those of `Container`."""

    @property
    def ref(self) -> Ref: ...

    @property
    def name(self) -> str: ...

    @property
    def state(self) -> State: ...

    @property
    def pid(self) -> int | None: ...

    @property
    def cgroup(self) -> str: ...

    @property
    def started_ns(self) -> int | None: ...

    @property
    def finished_ns(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Group:
    """Containers that belong together.

    Attributes:
        members: in order.
        cgroup: the path of the cgroup that holds them and nobody else, or "".
        state: running while one of them is, paused when all that live are.
        live: how many of them have processes.
        pid: a process in its cgroup, None when it has none of its own.
        started_ns, finished_ns: of the first that was started, and of the last that ended when none lives.
    """

    ref: GroupRef
    members: tuple[ContainerRef, ...]
    cgroup: str = ""
    _: KW_ONLY
    state: State = State.RUNNING
    live: int = 0
    pid: int | None = None
    started_ns: int | None = None
    finished_ns: int | None = None

    @property
    def name(self) -> str:
        """Its name in the list."""
        return self.ref.short


class EngineRef(NamedTuple):
    """One engine of a host; `engine` is "" for groups, of which no engine keeps a record."""

    host: str
    engine: str


def engine_of(ref: Ref) -> EngineRef:
    """The engine that keeps the record of its limits."""
    return EngineRef(ref.host, ref.engine if isinstance(ref, ContainerRef) else "")


@dataclass(frozen=True, slots=True)
class LimitTarget:
    """Where the kernel holds the limits of a live container or group.

    Attributes:
        cgroup: its path; of a container as in `Container`, beside `pid` by which it is found.
        pid: a process of it; None for a group, whose cgroup is found by its path.
        guarded: no engine has made it, so it is not touched where nobody can tell which processes live in it.
    """

    cgroup: str
    pid: int | None
    guarded: bool


def limit_target(subject: Subject) -> LimitTarget | None:
    """None when it is not live, or is a group without a cgroup of its own."""
    if subject.pid is None:
        return None
    if isinstance(subject, Container):
        return LimitTarget(subject.cgroup, subject.pid, bool(subject.found))
    return LimitTarget(subject.cgroup, None, True)


def incarnation(subject: Subject) -> object:
    """Another value after a restart of a container, or when a group got another cgroup."""
    return subject.pid if isinstance(subject, Container) else subject.cgroup
