"""Raw counters of one container at one moment, as the kernel gives them.

A counter only grows while its cgroup exists; a gauge is the value at the time of the read. A field is an int, or a
`Missing` with the reason why there is none. Rates are made of two samples in `collectors.sampling.rates`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from runtime.model import Missing, Unlimited


class CpuCounters(NamedTuple):
    """CPU time in ns; periods are counted; `throttled_ns` is time throttled by the own quota, summed over CPUs."""

    usage_ns: int | Missing = Missing.UNSUPPORTED
    user_ns: int | Missing = Missing.UNSUPPORTED
    system_ns: int | Missing = Missing.UNSUPPORTED
    periods: int | Missing = Missing.UNSUPPORTED
    throttled_periods: int | Missing = Missing.UNSUPPORTED
    throttled_ns: int | Missing = Missing.UNSUPPORTED


class MemoryGauges(NamedTuple):
    """Bytes. `working_set` is `current` less inactive file cache; `oom_kills` is a counter of processes.

    `file` is page cache that can be dropped or written back; `shared` is shared memory and tmpfs, which cannot.
    Counters too: `refaults`, pages that were read again soon after they were reclaimed, and `major_faults`, page faults
    that waited for a disk.
    """

    current: int | Missing = Missing.UNSUPPORTED
    working_set: int | Missing = Missing.UNSUPPORTED
    anon: int | Missing = Missing.UNSUPPORTED
    file: int | Missing = Missing.UNSUPPORTED
    shared: int | Missing = Missing.UNSUPPORTED
    swap: int | Missing = Missing.UNSUPPORTED
    peak: int | Missing = Missing.UNSUPPORTED
    limit: int | Unlimited | Missing = Missing.UNSUPPORTED
    oom_kills: int | Missing = Missing.UNSUPPORTED
    refaults: int | Missing = Missing.UNSUPPORTED
    major_faults: int | Missing = Missing.UNSUPPORTED


class Sharing(NamedTuple):
    """How it shares what it does not have alone; changes only when somebody writes it. As in `Usage`."""

    cpu_weight: int | Missing = Missing.UNSUPPORTED
    cpu_idle: bool | Missing = Missing.UNSUPPORTED
    cpus: frozenset[int] | Missing = Missing.UNSUPPORTED
    io_weight: int | Missing = Missing.UNSUPPORTED


@dataclass(frozen=True, slots=True)
class IoCounters:
    """Counters of one block device: bytes, and operations.

    `stacked`: what passes it also passes the devices below it, where it is counted (LVM, dm-crypt, md, loop).
    """

    read_bytes: int = 0
    write_bytes: int = 0
    read_ops: int = 0
    write_ops: int = 0
    stacked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NetCounters:
    """Counters of one network interface, as seen from inside its network namespace.

    `external`: what it carries leaves the namespace here. What a bridge, a tunnel or a VLAN carries also passes an
    external interface, where it is counted.
    """

    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_packets: int = 0
    tx_packets: int = 0
    rx_errors: int = 0
    tx_errors: int = 0
    rx_drops: int = 0
    tx_drops: int = 0
    external: bool = True


class PressureTotals(NamedTuple):
    """PSI stall time in ns for one resource, from `total=`."""

    some_ns: int | Missing = Missing.UNSUPPORTED
    full_ns: int | Missing = Missing.UNSUPPORTED


class Sample(NamedTuple):
    """Everything read about one container in one sweep.

    `at_ns` is CLOCK_MONOTONIC at the read; `generation` is the inode of the cgroup: another one means a new cgroup.
    `io` maps "major:minor" and `net` the interface name (without lo). `net_shared`: the network namespace is
    the host's, so its traffic is not the container's. `written`: bytes written to disks, on cgroup v1, where `io` has
    no writes by way of the page cache (see `process_writes`); None where `io` has all of them. `retransmits`, a
    counter, and `backlog` are of a busy network (see `congestion`).
    """

    at_ns: int
    generation: int
    cpu: CpuCounters = CpuCounters()
    cpu_limit: float | Unlimited | Missing = Missing.UNSUPPORTED  # cores
    memory: MemoryGauges = MemoryGauges()
    pids: int | Missing = Missing.UNSUPPORTED
    pids_limit: int | Unlimited | Missing = Missing.UNSUPPORTED
    io: Mapping[str, IoCounters] | Missing = Missing.UNSUPPORTED
    net: Mapping[str, NetCounters] | Missing = Missing.UNSUPPORTED
    net_shared: bool = False
    pressure: Mapping[str, PressureTotals] = MappingProxyType({})  # "cpu", "memory", "io"
    written: int | Missing | None = None
    sharing: Sharing = Sharing()
    retransmits: int | Missing = Missing.NOT_SAMPLED
    backlog: int | Missing = Missing.NOT_SAMPLED
