"""The result of one sweep: the usage of every container, immutable.

A `Frame` replaces the one before; a slow screen skips frames and never delays sampling. What is created for every
container in every sweep is a named tuple, which costs a fraction of a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from runtime.model import Missing, Ref, Unlimited

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})  # an empty mapping, as a default


@dataclass(frozen=True, slots=True)
class IoRates:
    """Per second; bytes and operations. `write_bytes` is missing where a cgroup of v1 cannot tell it."""

    read_bytes: float
    write_bytes: float | Missing
    read_ops: float
    write_ops: float


@dataclass(frozen=True, slots=True)
class NetRates:
    """Per second, seen from inside the container."""

    rx_bytes: float
    tx_bytes: float
    rx_packets: float
    tx_packets: float
    errors: float
    drops: float


class Pressure(NamedTuple):
    """PSI: share of the interval (0 to 1) in which some task, or every task, was stalled."""

    some: float | Missing = Missing.NOT_SAMPLED
    full: float | Missing = Missing.NOT_SAMPLED


class DiskLatency(NamedTuple):
    """One block device of the host over the interval: mean ms per finished request, and requests under way on average.

    `busy` is the share of the interval in which it had a request under way (0 to 1).
    """

    read_ms: float | Missing = Missing.NOT_SAMPLED
    write_ms: float | Missing = Missing.NOT_SAMPLED
    queue: float | Missing = Missing.NOT_SAMPLED
    busy: float | Missing = Missing.NOT_SAMPLED


@dataclass(frozen=True, slots=True, kw_only=True)
class HostProgram:
    """A program of the host outside every container that is measured, with its use of CPU in cores.

    `unit` is the systemd unit or the login session that it belongs to, "" where there is none; `cpus`: where
    it may run. A kernel thread has the name of the thread in square brackets.
    """

    pid: int
    name: str
    unit: str
    cpu: float
    cpus: frozenset[int]
    idle_class: bool = False
    read_bytes: float | Missing = Missing.NOT_SAMPLED
    write_bytes: float | Missing = Missing.NOT_SAMPLED


class Usage(NamedTuple):
    """One container over one interval. CPU in cores, memory in bytes, rates per second.

    Attributes:
        at_ns: CLOCK_MONOTONIC at the later sample, when the gauges were read. A container at rest keeps its usage, the
            same object, from sweep to sweep: its rates are 0 and its gauges are of then.
        throttled: cores; time for which its own quota throttled it, per wall time (summed over CPUs, so it can
            exceed 1).
        throttled_share: throttled periods of all periods, 0 to 1.
        oom_kills: kills since the container's cgroup was made.
        net: the sum over `net_interfaces`, the external ones.
        net_internal: the bridges, tunnels and other interfaces whose traffic is counted at an external one.
        io: the sum over `io_devices`, which count every request once.
        io_stacked: the devices above them (LVM, dm-crypt, md, loop), whose requests are counted below.
        net_shared: the network namespace is the host's, so `net` is `Missing.UNSUPPORTED`.
        pressure: by resource, "cpu", "memory", "io".
        waiting: waiting for CPU that others used, share of the interval: max(0, full - throttled / ncpu). PSI's `full`
            of CPU includes the time in which its own quota stopped every task, which is subtracted.
        extra: by metric id, the values that have no field here; see `metrics.from_sample`.
        refaults, major_faults: pages per second that were read again soon after they were reclaimed, and faults that
            had to wait for a disk.
        cpu_weight: as cpu.weight of v2 counts (1 to 10000, 100 by default), converted from the shares of v1.
        cpu_idle: it is in the idle class.
        cpus: those that it may run on.
        io_weight: 1 to 1000; missing where the kernel offers none.
        retransmits: TCP segments that it sent again, per second; of busy networks only.
        backlog: bytes that wait in the queues of its own interfaces; of busy networks only.
    """

    at_ns: int
    cpu: float | Missing = Missing.NOT_SAMPLED
    cpu_user: float | Missing = Missing.NOT_SAMPLED
    cpu_system: float | Missing = Missing.NOT_SAMPLED
    cpu_limit: float | Unlimited | Missing = Missing.NOT_SAMPLED
    throttled: float | Missing = Missing.NOT_SAMPLED
    throttled_share: float | Missing = Missing.NOT_SAMPLED
    memory: int | Missing = Missing.NOT_SAMPLED
    working_set: int | Missing = Missing.NOT_SAMPLED
    anon: int | Missing = Missing.NOT_SAMPLED
    file: int | Missing = Missing.NOT_SAMPLED
    shared: int | Missing = Missing.NOT_SAMPLED
    swap: int | Missing = Missing.NOT_SAMPLED
    memory_peak: int | Missing = Missing.NOT_SAMPLED
    memory_limit: int | Unlimited | Missing = Missing.NOT_SAMPLED
    oom_kills: int | Missing = Missing.NOT_SAMPLED
    pids: int | Missing = Missing.NOT_SAMPLED
    pids_limit: int | Unlimited | Missing = Missing.NOT_SAMPLED
    io: IoRates | Missing = Missing.NOT_SAMPLED
    io_devices: Mapping[str, IoRates] = NOTHING
    io_stacked: Mapping[str, IoRates] = NOTHING
    net: NetRates | Missing = Missing.NOT_SAMPLED
    net_interfaces: Mapping[str, NetRates] = NOTHING
    net_internal: Mapping[str, NetRates] = NOTHING
    net_shared: bool = False
    pressure: Mapping[str, Pressure] = NOTHING
    waiting: float | Missing = Missing.NOT_SAMPLED
    extra: Mapping[str, float | Missing] = NOTHING
    refaults: float | Missing = Missing.NOT_SAMPLED
    major_faults: float | Missing = Missing.NOT_SAMPLED
    cpu_weight: int | Missing = Missing.NOT_SAMPLED
    cpu_idle: bool | Missing = Missing.NOT_SAMPLED
    cpus: frozenset[int] | Missing = Missing.NOT_SAMPLED
    io_weight: int | Missing = Missing.NOT_SAMPLED
    retransmits: float | Missing = Missing.NOT_SAMPLED
    backlog: int | Missing = Missing.NOT_SAMPLED


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUsage:
    """The host over the same interval: CPU in cores, memory in bytes, network and disks in bytes per second.

    `steal` is CPU time that the hypervisor gave to other machines, in cores. `disks` are by "major:minor". `tasks` is
    how many processes and threads there are, `tasks_limit` how many there can be, `forks` how many were made a second.
    `programs` are the largest users of CPU outside all containers, found while somebody waits for CPU.
    `problems` has the reason why a counter ("cpu", "rx", "tx", "read", "write") could not be read.
    """

    ncpu: int
    cpu: float | Missing = Missing.NOT_SAMPLED
    memory_total: int = 0
    memory_used: int = 0
    swap_total: int = 0
    swap_used: int = 0
    load1: float = 0.0
    net_rx: float | Missing = Missing.NOT_SAMPLED
    net_tx: float | Missing = Missing.NOT_SAMPLED
    io_read: float | Missing = Missing.NOT_SAMPLED
    io_write: float | Missing = Missing.NOT_SAMPLED
    pressure: Mapping[str, Pressure] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    steal: float | Missing = Missing.NOT_SAMPLED
    disks: Mapping[str, DiskLatency] = field(default_factory=dict)
    tasks: int | Missing = Missing.NOT_SAMPLED
    tasks_limit: int | Missing = Missing.NOT_SAMPLED
    forks: float | Missing = Missing.NOT_SAMPLED
    programs: tuple[HostProgram, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """One sweep. `at_ns` is CLOCK_MONOTONIC, `wall_ns` the wall clock; `cost_ns` is how long the sweep took.

    `usages` holds the live containers that were targets of the sweep; `problems`: why one could not be read.
    """

    seq: int
    at_ns: int
    wall_ns: int
    interval_ns: int
    cost_ns: int
    host: HostUsage
    _: KW_ONLY
    usages: Mapping[Ref, Usage]
    problems: Mapping[Ref, str] = field(default_factory=dict)
