"""The words of the project: what a container is, what can be limited, what came of a change.

Everything here is frozen and says its unit. CPU is in cores (1.5), memory in bytes, time in
nanoseconds. Unlimited is a value of its own (`UNLIMITED`), and a value that is not there says why (`Missing`):
neither is ever a magic number, so neither can be added up or drawn by mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum, StrEnum
from typing import Final, NamedTuple


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


class ContainerRef(NamedTuple):
    """Names one container on this host: the engine's key and the engine's full id.

    A named tuple, because it is the key of every mapping of every sweep: it hashes and compares in C.
    """

    engine: str
    id: str

    @property
    def short(self) -> str:
        """The beginning of the id, without its namespace."""
        return self.id.rpartition("/")[2][:12]


class Kind(StrEnum):
    """What a row is: most are containers, some only look like one to the kernel."""

    CONTAINER = "container"
    VM = "vm"  # a virtual machine: its cgroup holds the emulator
    SERVICE = "service"  # a systemd service, shown on request


class GroupKind(StrEnum):
    """What makes containers belong together."""

    COMPOSE = "compose project"
    POD = "pod"
    SLICE = "slice"  # they share a parent cgroup


@dataclass(frozen=True, slots=True, order=True)
class GroupRef:
    """Names one group on this host; `engine` is empty for a slice, in which several engines may have containers."""

    kind: GroupKind
    name: str
    engine: str = ""


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
    that no engine claims was found; it is empty for every other.
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
    group: GroupRef | None = None  # compose project or pod, as its engine says
    error: str = ""  # why the engine could not start it
    kind: Kind = Kind.CONTAINER
    cgroup: str = ""
    placed: bool = True
    trusted: bool = True
    found: str = ""

    @property
    def group_name(self) -> str:
        """The group's name, empty when it is in none."""
        return self.group.name if self.group is not None else ""


class LimitName(StrEnum):
    """Every limit that can be changed on a live container; the values are field names of `LimitChange`."""

    CPUS = "cpus"
    CPU_PERIOD = "cpu_period"
    CPU_BURST = "cpu_burst"
    CPU_SHARES = "cpu_shares"
    CPU_IDLE = "cpu_idle"
    CPUSET_CPUS = "cpuset_cpus"
    CPUSET_MEMS = "cpuset_mems"
    MEMORY = "memory"
    MEMORY_HIGH = "memory_high"
    MEMORY_RESERVATION = "memory_reservation"
    SWAP = "swap"
    PIDS = "pids"
    IO_WEIGHT = "io_weight"
    IO_READ_BPS = "io_read_bps"
    IO_WRITE_BPS = "io_write_bps"
    IO_READ_IOPS = "io_read_iops"
    IO_WRITE_IOPS = "io_write_iops"
    NET_EGRESS = "net_egress"
    NET_INGRESS = "net_ingress"


@dataclass(frozen=True, slots=True, order=True)
class DeviceRate:
    """A limit of one block device, "major:minor" as the kernel names it; per second, bytes or operations."""

    device: str
    rate: int | Unlimited


Value = float | int | str | Unlimited | tuple[DeviceRate, ...]  # what a limit can be


@dataclass(frozen=True, slots=True)
class LimitChange:
    """A request; a field that is None stays as it is.

    Attributes:
        cpus: CPU bandwidth in cores (1.5), quota/period.
        cpu_period: the period in microseconds, 1000 to 1000000; a quota that is held keeps its cores.
        cpu_burst: CPU time in microseconds that may be saved up and spent beyond the quota; 0 is none.
        cpu_shares: relative weight in shares, 2 to 262144, 1024 being normal. On cgroup v2 it is
            converted to cpu.weight.
        cpu_idle: the idle class: runs only where no other cgroup wants the CPU. Leaving it restores the weight.
        cpuset_cpus, cpuset_mems: a kernel list such as "0-2,4"; UNLIMITED means every one that the parent has.
        memory: hard limit in bytes (v1 memory.limit_in_bytes, v2 memory.max).
        memory_high: throttling limit in bytes (v2 memory.high only).
        memory_reservation: protected or soft limit in bytes (v1 soft_limit_in_bytes, v2 memory.low); 0 and UNLIMITED
            both ask for none, which the kernel shows as UNLIMITED on v1 and as 0 on v2.
        swap: swap alone in bytes, not memory plus swap (v1 memsw minus memory, v2 memory.swap.max).
        pids: number of tasks.
        io_weight: relative weight for block devices, 1 to 10000, 100 being normal (v1 blkio.weight: 10 to 1000).
        io_read_bps, io_write_bps, io_read_iops, io_write_iops: bytes and operations per second, by block device;
            devices that are not named stay as they are.
        net_egress, net_ingress: bits per second that leave and reach the container, over its own network interfaces.
    """

    cpus: float | Unlimited | None = None
    cpu_period: int | None = None
    cpu_burst: int | None = None
    cpu_shares: int | None = None
    cpu_idle: bool | None = None
    cpuset_cpus: str | Unlimited | None = None
    cpuset_mems: str | Unlimited | None = None
    memory: int | Unlimited | None = None
    memory_high: int | Unlimited | None = None
    memory_reservation: int | Unlimited | None = None
    swap: int | Unlimited | None = None
    pids: int | Unlimited | None = None
    io_weight: int | None = None
    io_read_bps: tuple[DeviceRate, ...] | None = None
    io_write_bps: tuple[DeviceRate, ...] | None = None
    io_read_iops: tuple[DeviceRate, ...] | None = None
    io_write_iops: tuple[DeviceRate, ...] | None = None
    net_egress: int | Unlimited | None = None
    net_ingress: int | Unlimited | None = None

    def items(self) -> Iterator[tuple[LimitName, Value]]:
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

    `cpu_shares` read from cpu.weight is the nearest value that converts to it; in the idle class it is the one that
    will come back, since the kernel has none then. The rates by device hold the devices
    that are limited, in order.
    """

    cpus: float | Unlimited | Missing = Missing.UNSUPPORTED
    cpu_period: int | Missing = Missing.UNSUPPORTED
    cpu_burst: int | Missing = Missing.UNSUPPORTED
    cpu_shares: int | Missing = Missing.UNSUPPORTED
    cpu_idle: bool | Missing = Missing.UNSUPPORTED
    cpuset_cpus: str | Missing = Missing.UNSUPPORTED
    cpuset_mems: str | Missing = Missing.UNSUPPORTED
    memory: int | Unlimited | Missing = Missing.UNSUPPORTED
    memory_high: int | Unlimited | Missing = Missing.UNSUPPORTED
    memory_reservation: int | Unlimited | Missing = Missing.UNSUPPORTED
    swap: int | Unlimited | Missing = Missing.UNSUPPORTED
    pids: int | Unlimited | Missing = Missing.UNSUPPORTED
    io_weight: int | Missing = Missing.UNSUPPORTED
    io_read_bps: tuple[DeviceRate, ...] | Missing = Missing.UNSUPPORTED
    io_write_bps: tuple[DeviceRate, ...] | Missing = Missing.UNSUPPORTED
    io_read_iops: tuple[DeviceRate, ...] | Missing = Missing.UNSUPPORTED
    io_write_iops: tuple[DeviceRate, ...] | Missing = Missing.UNSUPPORTED
    net_egress: int | Unlimited | Missing = Missing.UNSUPPORTED
    net_ingress: int | Unlimited | Missing = Missing.UNSUPPORTED

    def get(self, name: LimitName) -> Value | Missing:
        value: Value | Missing = getattr(self, name.value)
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
    """One limit: what was asked, what the engine's record says, what the kernel says.

    `survives` is whether the container will have this limit again after it was restarted, None where nobody knows.
    """

    name: LimitName
    requested: Value
    before: Value | Missing
    engine: Value | Missing
    kernel: Value | Missing
    verdict: Verdict
    detail: str = ""  # the file and its raw text, or what was answered
    survives: bool | None = None


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

    `verbs` and `limits` map what cannot be done to the reason, in words for the user. `at_rest` is the reason why
    limits can be changed only while a container is live, empty when the engine keeps a change for the next start.
    `creation` maps fields of `ContainerSpec` to the reason why they cannot be asked for: a network, a restart policy,
    removal at the end. `unrecorded` are limits that change without the engine's record keeping it: what it says of
    them is how the container was created.
    """

    verbs: Mapping[Verb, str] = field(default_factory=dict)
    limits: Mapping[LimitName, str] = field(default_factory=dict)
    at_rest: str = ""
    creation: Mapping[str, str] = field(default_factory=dict)
    unrecorded: frozenset[LimitName] = frozenset()

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
