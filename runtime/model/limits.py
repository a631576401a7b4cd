"""The limits of a container: one table of them, a change of some (`LimitChange`) and what is held now (`Limits`).

CPU is in cores, memory in bytes, CPU time in microseconds, disk rates per second, network rates in bits per second.
A new limit is added in `LimitName`, in `LIMITS` and as a field of both classes; a test compares the four.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from runtime.model.values import Missing, Unlimited


class LimitName(StrEnum):
    """Every limit that can be changed on a live container; the values are field names of `LimitChange` and `Limits`."""

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


class LimitUnit(StrEnum):
    """What the number of a limit counts."""

    CORES = "cores"
    MICROSECONDS = "microseconds"
    SHARES = "shares"  # relative CPU weight as Docker and cgroup v1 count it
    SWITCH = "on or off"
    NUMBERS = "list of numbers"
    BYTES = "bytes"
    TASKS = "tasks"
    WEIGHT = "weight"
    BYTES_PER_SECOND = "bytes per second"
    OPERATIONS_PER_SECOND = "operations per second"
    BITS_PER_SECOND = "bits per second"


@dataclass(frozen=True, slots=True)
class LimitDefinition:
    """One row of the table of limits.

    Attributes:
        unit: what the number counts.
        value_type: `tuple` is a rate for each of some block devices (`DeviceRate`), whose range is that of one rate.
        controller: the cgroup controller (v2 name) whose files hold it; "" for a limit of network interfaces.
        minimum, maximum: the range that a kernel takes; of a list of numbers the range of each of them.
        unlimited: a change may ask for `UNLIMITED`.
    """

    unit: LimitUnit
    value_type: type
    controller: str
    minimum: int
    maximum: int
    unlimited: bool = True

    @property
    def by_device(self) -> bool:
        """It has one value per block device."""
        return self.value_type is tuple

    @property
    def never_unlimited(self) -> bool:
        """Neither the limit nor its value for a device can be `UNLIMITED`."""
        return not self.unlimited and not self.by_device


_MAX_BYTES: Final = 2**60  # larger numbers are too near to what cgroup v1 writes for "no limit"
_MAX_CPUS: Final = 65_536
_MAX_CPU_NUMBER: Final = 8_191  # the kernel's NR_CPUS on large machines
_MAX_BURST_US: Final = 10**9
_MAX_PIDS: Final = 4_194_304  # PID_MAX_LIMIT; one more is EINVAL
_MAX_IOPS: Final = 2**32 - 2  # the kernel keeps 32 bits; all of them set means no limit
_MIN_BITS_PER_S: Final = 1_000  # below some 500 the kernel's clock cannot hold a burst
_MAX_BITS_PER_S: Final = 34_000_000_000  # what a token bucket (tbf) can hold


def _size(minimum: int = 1) -> LimitDefinition:
    return LimitDefinition(LimitUnit.BYTES, int, "memory", minimum, _MAX_BYTES)


def _cpu_time(minimum_us: int, maximum_us: int) -> LimitDefinition:
    return LimitDefinition(LimitUnit.MICROSECONDS, int, "cpu", minimum_us, maximum_us, unlimited=False)


_CPUSET: Final = LimitDefinition(LimitUnit.NUMBERS, str, "cpuset", 0, _MAX_CPU_NUMBER)
_BPS: Final = LimitDefinition(LimitUnit.BYTES_PER_SECOND, tuple, "io", 1, _MAX_BYTES, unlimited=False)
_IOPS: Final = LimitDefinition(LimitUnit.OPERATIONS_PER_SECOND, tuple, "io", 1, _MAX_IOPS, unlimited=False)
_NETWORK: Final = LimitDefinition(LimitUnit.BITS_PER_SECOND, int, "", _MIN_BITS_PER_S, _MAX_BITS_PER_S)

LIMITS: Final[Mapping[LimitName, LimitDefinition]] = {
    LimitName.CPUS: LimitDefinition(LimitUnit.CORES, float, "cpu", 0, _MAX_CPUS),
    LimitName.CPU_PERIOD: _cpu_time(1_000, 1_000_000),
    LimitName.CPU_BURST: _cpu_time(0, _MAX_BURST_US),
    LimitName.CPU_SHARES: LimitDefinition(LimitUnit.SHARES, int, "cpu", 2, 262_144, unlimited=False),
    LimitName.CPU_IDLE: LimitDefinition(LimitUnit.SWITCH, bool, "cpu", 0, 1, unlimited=False),
    LimitName.CPUSET_CPUS: _CPUSET,
    LimitName.CPUSET_MEMS: _CPUSET,
    LimitName.MEMORY: _size(),
    LimitName.MEMORY_HIGH: _size(),
    LimitName.MEMORY_RESERVATION: _size(0),
    LimitName.SWAP: _size(0),
    LimitName.PIDS: LimitDefinition(LimitUnit.TASKS, int, "pids", 1, _MAX_PIDS),
    LimitName.IO_WEIGHT: LimitDefinition(LimitUnit.WEIGHT, int, "io", 1, 10_000, unlimited=False),
    LimitName.IO_READ_BPS: _BPS,
    LimitName.IO_WRITE_BPS: _BPS,
    LimitName.IO_READ_IOPS: _IOPS,
    LimitName.IO_WRITE_IOPS: _IOPS,
    LimitName.NET_EGRESS: _NETWORK,
    LimitName.NET_INGRESS: _NETWORK,
}
"""The table of limits, in the order in which they are shown. The range of cores excludes 0."""

DEVICE_LIMITS: Final = frozenset(name for name, limit in LIMITS.items() if limit.by_device)
NETWORK_LIMITS: Final = frozenset(name for name, limit in LIMITS.items() if not limit.controller)


@dataclass(frozen=True, slots=True, kw_only=True)
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

    @classmethod
    def of(cls, values: Mapping[LimitName, Value]) -> Self:
        """A change of these limits. Raises `TypeError` for a value that the limit's field does not take."""
        fields: dict[str, Any] = {}
        for name, value in values.items():
            _check_type(name, value)
            fields[name.value] = value
        return cls(**fields)

    def get(self, name: LimitName) -> Value | None:
        """The value that is asked for, None when that limit stays as it is."""
        value: Value | None = getattr(self, name.value)
        return value

    def items(self) -> Iterator[tuple[LimitName, Value]]:
        """The limits that are to change, in the order of `LIMITS`."""
        for name in LIMITS:
            value = self.get(name)
            if value is not None:
                yield name, value

    def names(self) -> frozenset[LimitName]:
        """The limits that are to change."""
        return frozenset(name for name, _ in self.items())

    def merge(self, other: LimitChange) -> LimitChange:
        """Both changes in one; where both name a limit, the value of `other` counts."""
        return LimitChange.of(dict(self.items()) | dict(other.items()))

    def without(self, names: Collection[LimitName]) -> LimitChange:
        """The change of all other limits."""
        return LimitChange.of({name: value for name, value in self.items() if name not in names})

    def only(self, names: Collection[LimitName]) -> LimitChange:
        """The change of these limits alone."""
        return LimitChange.of({name: value for name, value in self.items() if name in names})

    def __bool__(self) -> bool:
        return any(True for _ in self.items())


NO_CHANGE: Final = LimitChange()


@dataclass(frozen=True, slots=True, kw_only=True)
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

    @classmethod
    def of(cls, values: Mapping[LimitName, Value | Missing], *, absent: Missing = Missing.UNSUPPORTED) -> Self:
        """These limits; every other one is missing because of `absent`. Raises `TypeError` as `LimitChange.of`."""
        fields: dict[str, Any] = dict.fromkeys((name.value for name in LIMITS), absent)
        for name, value in values.items():
            if not isinstance(value, Missing):
                _check_type(name, value)
            fields[name.value] = value
        return cls(**fields)

    def get(self, name: LimitName) -> Value | Missing:
        """The value of a limit, or why it is not known."""
        value: Value | Missing = getattr(self, name.value)
        return value

    def items(self) -> Iterator[tuple[LimitName, Value | Missing]]:
        """Every limit, in the order of `LIMITS`."""
        for name in LIMITS:
            yield name, self.get(name)

    def merge(self, values: Mapping[LimitName, Value | Missing]) -> Limits:
        """The same limits but for these."""
        return Limits.of(dict(self.items()) | dict(values))


def _check_type(name: LimitName, value: Value) -> None:
    """The range is the business of `runtime.limits.units.validate`, which says it to the user."""
    wanted = LIMITS[name].value_type
    accepted = (float, int) if wanted is float else wanted
    if not isinstance(value, (accepted, Unlimited) if isinstance(accepted, type) else (*accepted, Unlimited)):
        raise TypeError(f"{name.value} cannot be {value!r}: it is a {wanted.__name__}")
