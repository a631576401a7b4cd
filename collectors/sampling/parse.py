"""Contents of kernel files -> numbers. Pure; never raises: what cannot be parsed is `Missing.UNSUPPORTED`.

These run for every file of every container in every sweep, so they search the bytes for the keys they need and
create no other objects. Sources: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/{cpuacct,memory,pids,
blkio-controller}.rst, accounting/psi.rst, proc_pid_net(5).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from collectors.sampling.keyed_numbers import KeyedNumbers
from collectors.sampling.sample import IoCounters, NetCounters, PressureTotals
from runtime.kernel import cpu_bandwidth
from runtime.model import UNLIMITED, Missing, Unlimited

Number = int | Missing
Limit = int | Unlimited | Missing
ThreeNumbers = tuple[Number, Number, Number]

NS_PER_US = 1000
NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

# v1 writes "no limit" as PAGE_COUNTER_MAX, LONG_MAX rounded down to pages; this bound fits pages of up to 64 KiB.
UNLIMITED_V1_BYTES = 0x7FFF_FFFF_FFFF_0000

UNSUPPORTED = Missing.UNSUPPORTED


def number(data: bytes) -> Number:
    """A file that holds one counter or gauge."""
    try:
        value = int(data)
    except ValueError:
        return UNSUPPORTED
    return value if value >= 0 else UNSUPPORTED


def limit(data: bytes) -> Limit:
    """A file that holds one limit: a number, "max", or v1's huge number for no limit."""
    if data == b"max\n":
        return UNLIMITED
    value = number(data)
    if isinstance(value, int) and value >= UNLIMITED_V1_BYTES:
        return UNLIMITED
    return UNLIMITED if data.strip() == b"max" else value


def _keyed(data: bytes, key: bytes, start: int = 0) -> Number:
    """The number after `key`, which ends in a space, and begins with a newline unless it is unique."""
    at = data.find(key, start)
    if at < 0:
        return UNSUPPORTED
    at += len(key)
    end = data.find(b"\n", at)
    try:
        value = int(data[at:end] if end >= 0 else data[at:])
    except ValueError:
        return UNSUPPORTED
    return value if value >= 0 else UNSUPPORTED


def _scaled(value: Number, factor: int) -> Number:
    return value * factor if isinstance(value, int) else value


def cpu_times(data: bytes) -> ThreeNumbers:
    """v2 cpu.stat, which exists without the cpu controller too: usage, user, system in ns."""
    user_at, system_at = data.find(b"\nuser_usec "), data.find(b"\nsystem_usec ")
    if 0 < user_at < system_at and data.startswith(b"usage_usec "):  # the usual order
        usage, user = data[11:user_at], data[user_at + 11 : system_at]
        system = data[system_at + 13 : data.find(b"\n", system_at + 13)]
        if usage.isdigit() and user.isdigit() and system.isdigit():
            return int(usage) * NS_PER_US, int(user) * NS_PER_US, int(system) * NS_PER_US
    return (
        _scaled(_keyed(data, b"usage_usec "), NS_PER_US),
        _scaled(_keyed(data, b"\nuser_usec "), NS_PER_US),
        _scaled(_keyed(data, b"\nsystem_usec "), NS_PER_US),
    )


def cpu_stat_v2(data: bytes) -> tuple[Number, Number, Number, Number, Number, Number]:
    """v2 cpu.stat with the controller: usage, user, system (ns), periods, throttled periods, throttled ns."""
    return (
        *cpu_times(data),
        _keyed(data, b"\nnr_periods "),
        _keyed(data, b"\nnr_throttled "),
        _scaled(_keyed(data, b"\nthrottled_usec "), NS_PER_US),
    )


def cpu_stat_v1(data: bytes) -> ThreeNumbers:
    """v1 cpu.stat: periods, throttled periods, throttled time in ns."""
    return _keyed(data, b"nr_periods "), _keyed(data, b"\nnr_throttled "), _keyed(data, b"\nthrottled_time ")


def cpuacct_stat(data: bytes) -> tuple[Number, Number]:
    """v1 cpuacct.stat, clock ticks: user, system in ns."""
    return _scaled(_keyed(data, b"user "), NS_PER_TICK), _scaled(_keyed(data, b"\nsystem "), NS_PER_TICK)


def quota_v1(data: bytes) -> Limit:
    """v1 cpu.cfs_quota_us: microseconds; -1 is no limit."""
    return UNLIMITED if data == b"-1\n" else number(data)


def cpu_max(data: bytes) -> float | Unlimited | Missing:
    """v2 cpu.max ("quota period" or "max period") -> cores."""
    quota, _, period = data.partition(b" ")
    if quota == b"max":
        return UNLIMITED
    return cores(number(quota), number(period))


def cores(quota: Limit, period: Number) -> float | Unlimited | Missing:
    """Quota and period in the same unit -> cores."""
    if not isinstance(quota, int):
        return quota
    if not isinstance(period, int):
        return period
    return cpu_bandwidth.cores(quota, period) if period else UNSUPPORTED


_V1_STAT = KeyedNumbers(
    *(b"hierarchical_memory_limit", b"total_cache", b"total_rss", b"total_shmem", b"total_inactive_file"),
    *(b"total_workingset_refault_anon", b"total_workingset_refault_file", b"total_pgmajfault", b"total_swap"),
)
_V2_STAT = KeyedNumbers(
    *(b"anon", b"file", b"shmem", b"inactive_file"),
    *(b"workingset_refault_anon", b"workingset_refault_file", b"pgmajfault"),
)


def memory_stat_v1(data: bytes) -> tuple[Number, Number, Number, Number, Number, Number, Number, Limit]:
    """v1 memory.stat of the whole subtree: as `memory_stat_v2`, then swap and the ancestors' tightest limit.

    The kernel counts shared memory and tmpfs as cache. They are not in `file`: they cannot be dropped.
    """
    start = data.find(b"\nhierarchical_memory_limit ")
    if start < 0:
        return (UNSUPPORTED,) * 8
    usual = _V1_STAT.find(data[start:])
    if usual is not None:
        hierarchical, cache, anon, shmem, inactive, anon_again, file_again, faults, swap = usual
        own = UNLIMITED if hierarchical >= UNLIMITED_V1_BYTES else hierarchical
        file = cache - shmem if cache > shmem else 0
        return anon, file, shmem, inactive, anon_again + file_again, faults, swap, own
    tightest: Limit = _keyed(data, b"\nhierarchical_memory_limit ", start)
    if isinstance(tightest, int) and tightest >= UNLIMITED_V1_BYTES:
        tightest = UNLIMITED
    shared = _keyed(data, b"\ntotal_shmem ", start)
    return (
        _keyed(data, b"\ntotal_rss ", start),
        _without(_keyed(data, b"\ntotal_cache ", start), shared),
        shared,
        _keyed(data, b"\ntotal_inactive_file ", start),
        _refaults(data, b"\ntotal_workingset_refault"),
        _keyed(data, b"\ntotal_pgmajfault ", start),
        _keyed(data, b"\ntotal_swap ", start),
        tightest,
    )


def memory_stat_v2(data: bytes) -> tuple[Number, Number, Number, Number, Number, Number]:
    """v2 memory.stat: anon, file without shared memory and tmpfs, these, inactive file, refaults, major faults."""
    usual = _V2_STAT.find(data)
    if usual is not None:
        anonymous, cache, shmem, inactive, anon_again, file_again, faults = usual
        return anonymous, cache - shmem if cache > shmem else 0, shmem, inactive, anon_again + file_again, faults
    anon = _keyed(data, b"anon ") if data.startswith(b"anon ") else _keyed(data, b"\nanon ")
    shared = _keyed(data, b"\nshmem ")
    return (
        anon,
        _without(_keyed(data, b"\nfile "), shared),
        shared,
        _keyed(data, b"\ninactive_file "),
        _refaults(data, b"\nworkingset_refault"),
        _keyed(data, b"\npgmajfault "),
    )


def _refaults(data: bytes, key: bytes) -> Number:
    """Pages that came back soon after they were reclaimed; told apart, anon and file, since Linux 5.9."""
    at = data.find(key)
    if at < 0:
        return UNSUPPORTED
    anon, file = _keyed(data, key + b"_anon ", at), _keyed(data, key + b"_file ", at)
    if isinstance(anon, int) and isinstance(file, int):
        return anon + file
    return _keyed(data, key + b" ", at)


def _without(cache: Number, shared: Number) -> Number:
    """Cache less the shared memory in it; kernels before 4.18 do not tell that on v1."""
    if not isinstance(cache, int) or not isinstance(shared, int):
        return cache
    return max(0, cache - shared)


def oom_kills(data: bytes) -> Number:
    """v2 memory.events and v1 memory.oom_control (since Linux 4.13): processes that the OOM killer ended."""
    return _keyed(data, b"\noom_kill ")


def pressure(data: bytes) -> PressureTotals:
    """A PSI file: total stall times. cpu has a `full` line since Linux 5.13."""
    end = data.find(b"\nfull ")  # some avg10= avg60= avg300= total=, and the same line of full
    if end > 0 and data.startswith(b"some "):  # the usual layout
        some, full = data[data.rfind(b"total=", 0, end) + 6 : end], data[data.rfind(b"total=", end) + 6 : -1]
        if some.isdigit() and full.isdigit() and data.endswith(b"\n"):
            return PressureTotals(int(some) * NS_PER_US, int(full) * NS_PER_US)
    return PressureTotals(_stalled(data, b"some "), _stalled(data, b"full "))


def _stalled(data: bytes, kind: bytes) -> Number:
    at = data.find(kind)
    if at < 0:
        return UNSUPPORTED
    end = data.find(b"\n", at)
    total = data.find(b"total=", at, end if end >= 0 else len(data))
    return _scaled(_keyed(data, b"total=", total), NS_PER_US) if total >= 0 else UNSUPPORTED


def io_stat_v2(data: bytes) -> Mapping[str, IoCounters]:
    """v2 io.stat: one line per device, "8:0 rbytes=1 wbytes=2 rios=3 wios=4 ..."; counters may be absent."""
    found: dict[str, IoCounters] = {}
    for line in data.split(b"\n"):
        device, *pairs = line.split()[:16] or [b""]
        if b":" not in device:
            continue
        values = {name: number(value) for name, _, value in (pair.partition(b"=") for pair in pairs)}
        known = {name: value for name, value in values.items() if isinstance(value, int)}
        found[_text(device)] = IoCounters(
            known.get(b"rbytes", 0), known.get(b"wbytes", 0), known.get(b"rios", 0), known.get(b"wios", 0)
        )
    return found


def blkio_v1(data: bytes) -> Mapping[str, tuple[int, int]]:
    """v1 blkio.throttle.io_service_bytes or io_serviced: (read, write) by device."""
    found: dict[str, tuple[int, int]] = {}
    for line in data.split(b"\n"):
        device, _, rest = line.partition(b" ")
        kind, _, value = rest.partition(b" ")
        if b":" not in device or kind not in (b"Read", b"Write"):
            continue
        count = number(value)
        if not isinstance(count, int):
            continue
        name = _text(device)
        read, write = found.get(name, (0, 0))
        found[name] = (count, write) if kind == b"Read" else (read, count)
    return found


def merge_io_v1(
    sizes: Mapping[str, tuple[int, int]], counts: Mapping[str, tuple[int, int]]
) -> Mapping[str, IoCounters]:
    """Bytes and operations of v1's two files, by device."""
    return {
        device: IoCounters(*sizes.get(device, (0, 0)), *counts.get(device, (0, 0)))
        for device in (*sizes, *(device for device in counts if device not in sizes))
    }


def meminfo(data: bytes, key: bytes) -> Number:
    """One line of /proc/meminfo, "SwapFree:   1024 kB", in bytes; `key` is its name."""
    at = 0 if data.startswith(key + b":") else data.find(b"\n" + key + b":")
    try:
        return int(data[at:].split(None, 2)[1]) * 1024 if at >= 0 else UNSUPPORTED
    except (ValueError, IndexError):
        return UNSUPPORTED


def net_dev(data: bytes) -> Mapping[str, NetCounters]:
    """/proc/<pid>/net/dev: every interface but lo. The name ends at the last colon, since it may contain colons."""
    found: dict[str, NetCounters] = {}
    for line in data.split(b"\n"):
        name, colon, rest = line.rpartition(b":")
        if not colon:
            continue
        name = name.strip()
        if name == b"lo":
            continue
        try:
            column = [int(value) for value in rest.split()]
        except ValueError:
            continue
        if len(column) < 16 or min(column) < 0:
            continue
        found[_text(name)] = NetCounters(
            rx_bytes=column[0],
            tx_bytes=column[8],
            rx_packets=column[1],
            tx_packets=column[9],
            rx_errors=column[2],
            tx_errors=column[10],
            rx_drops=column[3],
            tx_drops=column[11],
        )
    return found


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
