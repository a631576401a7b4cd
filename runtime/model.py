"""The words of the project: what a container is, what can be limited, what came of a change.

Everything here is frozen and says its unit. CPU is in cores (1.5), memory in bytes, time in
nanoseconds. Unlimited is a value of its own (`UNLIMITED`), and a value that is not there says why (`Missing`):
neither is ever a magic number, so neither can be added up or drawn by mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum, StrEnum
from typing import Final


class Unlimited(Enum):
    """The type of `UNLIMITED`."""

    UNLIMITED = "unlimited"

    def __str__(self) -> str:
        return "unlimited"


UNLIMITED: Final = Unlimited.UNLIMITED


class Missing(Enum):
    """Why a value is not there."""

    UNSUPPORTED = "unsupported"  # this kernel, cgroup version or engine does not have it
    DENIED = "denied"  # it is there, and we may not read it
    GONE = "gone"  # the container or its cgroup vanished
    NOT_SAMPLED = "not sampled yet"  # a rate needs two samples

    def __str__(self) -> str:
        return self.value


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


@dataclass(frozen=True, slots=True, order=True)
class ContainerRef:
    """Names one container on this host: the engine's key and the engine's full id."""

    engine: str
    id: str

    @property
    def short(self) -> str:
        return self.id[:12]


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
    init while it is live; its cgroup and namespaces are found from it.
    """

    ref: ContainerRef
    name: str
    image: str
    state: State
    pid: int | None = None
    command: tuple[str, ...] = ()
    created_ns: int = 0
    started_ns: int | None = None
    finished_ns: int | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    health: str = ""
    restart_policy: str = "no"
    addresses: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    group: str = ""  # compose project or pod
    error: str = ""  # why the engine could not start it


class LimitName(StrEnum):
    """Every limit that can be changed on a live container; the values are field names of `LimitChange`."""

    CPUS = "cpus"
    CPU_SHARES = "cpu_shares"
    CPUSET_CPUS = "cpuset_cpus"
    CPUSET_MEMS = "cpuset_mems"
    MEMORY = "memory"
    MEMORY_HIGH = "memory_high"
    MEMORY_RESERVATION = "memory_reservation"
    SWAP = "swap"
    PIDS = "pids"


@dataclass(frozen=True, slots=True)
class LimitChange:
    """A request; a field that is None stays as it is.

    Attributes:
        cpus: CPU bandwidth in cores (1.5), quota/period.
        cpu_shares: relative weight in shares, 2 to 262144, 1024 being normal. On cgroup v2 it is
            converted to cpu.weight.
        cpuset_cpus, cpuset_mems: a kernel list such as "0-2,4"; UNLIMITED means every one that the parent has.
        memory: hard limit in bytes (v1 memory.limit_in_bytes, v2 memory.max).
        memory_high: throttling limit in bytes (v2 memory.high only).
        memory_reservation: protected or soft limit in bytes (v1 soft_limit_in_bytes, v2 memory.low).
        swap: swap alone in bytes, not memory plus swap (v1 memsw minus memory, v2 memory.swap.max).
        pids: number of tasks.
    """

    cpus: float | Unlimited | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str | Unlimited | None = None
    cpuset_mems: str | Unlimited | None = None
    memory: int | Unlimited | None = None
    memory_high: int | Unlimited | None = None
    memory_reservation: int | Unlimited | None = None
    swap: int | Unlimited | None = None
    pids: int | Unlimited | None = None

    def items(self) -> Iterator[tuple[LimitName, float | int | str | Unlimited]]:
        """The fields that ask for something, in declaration order."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None:
                yield LimitName(entry.name), value

    def __bool__(self) -> bool:
        return any(True for _ in self.items())


@dataclass(frozen=True, slots=True)
class Limits:
    """What the kernel (or an engine's record) holds now; same fields and units as `LimitChange`.

    `cpu_period_us` goes with `cpus`. `cpu_shares` read from cpu.weight is the nearest value that converts to it.
    """

    cpus: float | Unlimited | Missing = Missing.UNSUPPORTED
    cpu_period_us: int | Missing = Missing.UNSUPPORTED
    cpu_shares: int | Missing = Missing.UNSUPPORTED
    cpuset_cpus: str | Missing = Missing.UNSUPPORTED
    cpuset_mems: str | Missing = Missing.UNSUPPORTED
    memory: int | Unlimited | Missing = Missing.UNSUPPORTED
    memory_high: int | Unlimited | Missing = Missing.UNSUPPORTED
    memory_reservation: int | Unlimited | Missing = Missing.UNSUPPORTED
    swap: int | Unlimited | Missing = Missing.UNSUPPORTED
    pids: int | Unlimited | Missing = Missing.UNSUPPORTED

    def get(self, name: LimitName) -> float | int | str | Unlimited | Missing:
        value: float | int | str | Unlimited | Missing = getattr(self, name.value)
        return value


class Verdict(StrEnum):
    """What came of one field of a change, judged by what the kernel holds afterwards."""

    APPLIED = "applied"
    ROUNDED = "rounded"  # the kernel holds the nearest value that it can hold (pages, weight)
    IGNORED = "ignored"  # accepted without an error, and the kernel still holds the old value
    FAILED = "failed"  # refused with an error
    ROLLED_BACK = "rolled back"  # it was written, and taken back because another field failed
    UNREADABLE = "unreadable"  # written, but the kernel's value cannot be read (not live, denied)


@dataclass(frozen=True, slots=True)
class FieldOutcome:
    """One limit: what was asked, what the engine's record says, what the kernel says."""

    name: LimitName
    requested: float | int | str | Unlimited
    before: float | int | str | Unlimited | Missing
    engine: float | int | str | Unlimited | Missing
    kernel: float | int | str | Unlimited | Missing
    verdict: Verdict
    detail: str = ""  # the file and its raw text, or what was answered


@dataclass(frozen=True, slots=True)
class LimitOutcome:
    """The result of one change; `ok` only if the kernel holds every value that was asked for."""

    ref: ContainerRef
    fields: tuple[FieldOutcome, ...]
    error: str = ""

    @property
    def ok(self) -> bool:
        return not self.error and all(f.verdict in (Verdict.APPLIED, Verdict.ROUNDED) for f in self.fields)


class Verb(StrEnum):
    """What can be asked of an engine about a container."""

    CREATE = "create"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    KILL = "kill"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    REMOVE = "remove"
    UPDATE = "update"
    LOGS = "logs"
    WAIT = "wait"
    EVENTS = "events"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do here and now. Whatever is not listed as unavailable is available.

    `verbs` and `limits` map what cannot be done to the reason, in words for the user.
    """

    verbs: Mapping[Verb, str] = field(default_factory=dict)
    limits: Mapping[LimitName, str] = field(default_factory=dict)

    def why_not(self, what: Verb | LimitName) -> str | None:
        """The reason why `what` is unavailable, or None when it is available."""
        if isinstance(what, Verb):
            return self.verbs.get(what)
        return self.limits.get(what)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Who answers: key (as in `ContainerRef.engine`), product and version, where it was found."""

    key: str
    product: str
    version: str
    endpoint: str
    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Image:
    """An image that a container can be created from; size in bytes where it is known."""

    id: str
    names: tuple[str, ...]
    size: int | Missing = Missing.UNSUPPORTED
    created_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Bind:
    """A host path shown inside the container."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What to create. An empty `name` lets the engine choose; an empty `command` takes the image's own."""

    image: str
    command: tuple[str, ...] = ()
    name: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    user: str = ""
    hostname: str = ""
    network: str = "bridge"  # "bridge" or "none"
    binds: tuple[Bind, ...] = ()
    limits: LimitChange = LimitChange()
    restart_policy: str = "no"  # no, on-failure[:N], always, unless-stopped
    stop_signal: str = "SIGTERM"
    stop_timeout: float = 10.0
    read_only: bool = False
    auto_remove: bool = False


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of output without its newline; `partial` when the newline did not come (yet)."""

    stream: str  # "stdout" or "stderr"
    time_ns: int  # wall clock
    data: bytes
    partial: bool = False


class EventKind(StrEnum):
    """What happened to a container."""

    CREATED = "created"
    STARTED = "started"
    DIED = "died"
    PAUSED = "paused"
    UNPAUSED = "unpaused"
    UPDATED = "updated"
    REMOVED = "removed"
    RENAMED = "renamed"
    OOM = "oom"
    HEALTH = "health"


@dataclass(frozen=True, slots=True)
class Event:
    """One change that an engine reports; `time_ns` is wall clock."""

    kind: EventKind
    ref: ContainerRef
    time_ns: int
    detail: Mapping[str, str] = field(default_factory=dict)
