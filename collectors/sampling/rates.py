"""Two samples of one container -> its usage in between. Pure.

A rate needs two readings of the same counter of the same cgroup. With a new cgroup (`generation`) or a counter that
fell, it is `Missing.NOT_SAMPLED` and never negative or a spike. Gauges need one sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from collectors.sampling.frame import NOTHING, IoRates, NetRates, Pressure, Usage
from collectors.sampling.metrics import METRICS, MetricType, MetricUnit
from collectors.sampling.sample import CpuCounters, IoCounters, NetCounters, PressureTotals, Sample
from runtime.model import Missing

Rate = float | Missing
NOT_SAMPLED = Missing.NOT_SAMPLED
NS_PER_S = 1_000_000_000

NO_PRESSURE = PressureTotals(NOT_SAMPLED, NOT_SAMPLED)
NO_STALL = Pressure(0.0, 0.0)
EXTRA = tuple((metric, metric.read) for metric in METRICS.values() if metric.read is not None)
NS_PER_NS = frozenset({MetricUnit.CORES, MetricUnit.SHARE_OF_TIME})  # units in which counters of ns are divided by ns


def rate(before: int | Missing, after: int | Missing, seconds: float) -> Rate:
    """Growth per second. When both readings are missing, the reason of the later one is given."""
    if not isinstance(after, int):
        return after
    if not isinstance(before, int) or after < before:
        return NOT_SAMPLED
    return (after - before) / seconds


def derive(previous: Sample | None, current: Sample, ncpu: int) -> Usage:
    """Usage between two samples. Without a previous one of the same cgroup there are gauges only."""
    if previous is None or previous.generation != current.generation or current.at_ns <= previous.at_ns:
        return _gauges_only(current)
    elapsed = float(current.at_ns - previous.at_ns)  # ns per ns: cores and shares come out directly
    seconds = elapsed / NS_PER_S
    old, new = previous.cpu, current.cpu
    cpu = rate(old.usage_ns, new.usage_ns, elapsed)
    user, system = _split(old.user_ns, old.system_ns, new.user_ns, new.system_ns, elapsed, cpu)
    throttled = rate(old.throttled_ns, new.throttled_ns, elapsed)
    io, io_devices, io_stacked = _io(previous.io, current.io, seconds)
    if current.written is not None and isinstance(io, IoRates):
        written = NOT_SAMPLED if previous.written is None else previous.written
        io = replace(io, write_bytes=rate(written, current.written, seconds))
    net, net_interfaces, net_internal = _net(previous.net, current.net, seconds)
    pressure = _pressures(previous.pressure, current.pressure, elapsed)
    current_bytes, working_set, anon, file, shared, swap, peak, limit, oom_kills, refaults, major_faults = (
        current.memory
    )
    sharing = current.sharing
    return Usage(
        current.at_ns,
        cpu,
        user,
        system,
        current.cpu_limit,
        throttled,
        _throttled_share(old, new),
        current_bytes,
        working_set,
        anon,
        file,
        shared,
        swap,
        peak,
        limit,
        oom_kills,
        current.pids,
        current.pids_limit,
        io,
        io_devices,
        io_stacked,
        net,
        net_interfaces,
        net_internal,
        current.net_shared,
        pressure,
        _waiting(pressure, throttled, ncpu),
        _extra(previous, current, elapsed) if EXTRA else NOTHING,
        rate(previous.memory.refaults, refaults, seconds),
        rate(previous.memory.major_faults, major_faults, seconds),
        *sharing,
        rate(previous.retransmits, current.retransmits, seconds),
        current.backlog,
    )


def _extra(previous: Sample, current: Sample, elapsed_ns: float) -> Mapping[str, float | Missing]:
    """The values of metrics for which `Usage` has no field."""
    return {
        metric.id: rate(
            read(previous), read(current), elapsed_ns if metric.unit in NS_PER_NS else elapsed_ns / NS_PER_S
        )
        if metric.type is MetricType.RATE
        else read(current)
        for metric, read in EXTRA
    }


def _gauges_only(current: Sample) -> Usage:
    """Usage after the first sample: a rate is NOT_SAMPLED, or the reason why its counter cannot be read."""
    memory, cpu = current.memory, current.cpu

    def later(value: object) -> Missing:
        return value if isinstance(value, Missing) else NOT_SAMPLED

    return Usage(
        at_ns=current.at_ns,
        cpu=later(cpu.usage_ns),
        cpu_user=later(cpu.user_ns),
        cpu_system=later(cpu.system_ns),
        cpu_limit=current.cpu_limit,
        throttled=later(cpu.throttled_ns),
        throttled_share=later(cpu.periods),
        memory=memory.current,
        working_set=memory.working_set,
        anon=memory.anon,
        file=memory.file,
        shared=memory.shared,
        swap=memory.swap,
        memory_peak=memory.peak,
        memory_limit=memory.limit,
        oom_kills=memory.oom_kills,
        pids=current.pids,
        pids_limit=current.pids_limit,
        io=later(current.io),
        net=later(current.net),
        net_shared=current.net_shared,
        pressure={name: Pressure(later(t.some_ns), later(t.full_ns)) for name, t in current.pressure.items()},
        waiting=later(current.pressure["cpu"].full_ns) if "cpu" in current.pressure else Missing.UNSUPPORTED,
        extra={
            metric.id: later(read(current)) if metric.type is MetricType.RATE else read(current)
            for metric, read in EXTRA
        },
        refaults=later(memory.refaults),
        major_faults=later(memory.major_faults),
        cpu_weight=current.sharing.cpu_weight,
        cpu_idle=current.sharing.cpu_idle,
        cpus=current.sharing.cpus,
        io_weight=current.sharing.io_weight,
        retransmits=later(current.retransmits),
        backlog=current.backlog,
    )


def _split(
    old_user: int | Missing,
    old_system: int | Missing,
    user: int | Missing,
    system: int | Missing,
    elapsed: float,
    cpu: Rate,
) -> tuple[Rate, Rate]:
    """User and system cores. The kernel estimates the split, so a part may fall or exceed the total: clamp both."""
    if not isinstance(user, int) or not isinstance(system, int):
        return rate(old_user, user, elapsed), rate(old_system, system, elapsed)
    if not isinstance(old_user, int) or not isinstance(old_system, int) or not isinstance(cpu, float):
        return NOT_SAMPLED, NOT_SAMPLED
    in_user = max(0, user - old_user) / elapsed
    in_system = max(0, system - old_system) / elapsed
    both = in_user + in_system
    if both > cpu:
        in_user, in_system = in_user * cpu / both, in_system * cpu / both
    return in_user, in_system


def _throttled_share(old: CpuCounters, new: CpuCounters) -> Rate:
    """Throttled periods of all periods, 0 to 1; 0.0 without any period, since then nothing was throttled."""
    periods = rate(old.periods, new.periods, 1.0)
    throttled = rate(old.throttled_periods, new.throttled_periods, 1.0)
    if isinstance(periods, Missing):
        return periods
    if isinstance(throttled, Missing):
        return throttled
    return min(1.0, throttled / periods) if periods else 0.0


def _waiting(pressure: Mapping[str, Pressure], throttled: Rate, ncpu: int) -> Rate:
    """See `Usage.waiting`; `throttled` is in cores."""
    if "cpu" not in pressure:
        return Missing.UNSUPPORTED
    full = pressure["cpu"].full
    if isinstance(full, Missing):
        return full
    own = throttled if isinstance(throttled, float) else 0.0
    return max(0.0, full - own / max(1, ncpu))


def _pressures(
    old: Mapping[str, PressureTotals], new: Mapping[str, PressureTotals], elapsed: float
) -> Mapping[str, Pressure]:
    if not new:
        return {}
    return {name: share(old.get(name, NO_PRESSURE), totals, elapsed) for name, totals in new.items()}


def share(old: PressureTotals, new: PressureTotals, elapsed: float) -> Pressure:
    """Stall time as a share of the interval (`elapsed` in ns), at most 1: the kernel may add to a total late."""
    if old is new and isinstance(new.some_ns, int) and isinstance(new.full_ns, int):
        return NO_STALL  # the file did not change, as most do not between two sweeps
    some = rate(old.some_ns, new.some_ns, elapsed)
    full = rate(old.full_ns, new.full_ns, elapsed)
    return Pressure(
        min(1.0, some) if isinstance(some, float) else some,
        min(1.0, full) if isinstance(full, float) else full,
    )


def _io(
    old: Mapping[str, IoCounters] | Missing, new: Mapping[str, IoCounters] | Missing, seconds: float
) -> tuple[IoRates | Missing, Mapping[str, IoRates], Mapping[str, IoRates]]:
    """The sum over devices, each of them, and each stacked one. A device that appears has started at zero.

    A stacked device is not added, as its requests are counted below it. Where its figure is above their sum it counts
    instead: dm-crypt, and loop before Linux 5.14, pass requests on by a kernel thread, whose cgroup then has them.
    """
    if isinstance(new, Missing):
        return new, NOTHING, NOTHING
    if isinstance(old, Missing):
        return NOT_SAMPLED, NOTHING, NOTHING
    devices: dict[str, IoRates] = {}
    stacked: dict[str, IoRates] = {}
    if new is old:
        for name, counters in new.items():
            (stacked if counters.stacked else devices)[name] = IDLE_IO
        return IDLE_IO, devices, stacked
    total, most = (0, 0, 0, 0), (0, 0, 0, 0)  # bytes read and written, reads and writes
    for name, after in new.items():
        before = old.get(name, ZERO_IO)
        got = after.read_bytes - before.read_bytes
        put = after.write_bytes - before.write_bytes
        gets = after.read_ops - before.read_ops
        puts = after.write_ops - before.write_ops
        if min(got, put, gets, puts) < 0:
            return NOT_SAMPLED, NOTHING, NOTHING
        rates = IoRates(got / seconds, put / seconds, gets / seconds, puts / seconds)
        if after.stacked:
            stacked[name] = rates
            most = (max(most[0], got), max(most[1], put), max(most[2], gets), max(most[3], puts))
        else:
            devices[name] = rates
            total = (total[0] + got, total[1] + put, total[2] + gets, total[3] + puts)
    if stacked:
        total = (max(total[0], most[0]), max(total[1], most[1]), max(total[2], most[2]), max(total[3], most[3]))
    return (
        IoRates(total[0] / seconds, total[1] / seconds, total[2] / seconds, total[3] / seconds),
        devices,
        stacked,
    )


def _net(
    old: Mapping[str, NetCounters] | Missing, new: Mapping[str, NetCounters] | Missing, seconds: float
) -> tuple[NetRates | Missing, Mapping[str, NetRates], Mapping[str, NetRates]]:
    """The sum over the external interfaces, each of them, and each internal one.

    A new one counts from the next sample on. One whose counters fell gives no rate, and if it is external, no sum.
    """
    if isinstance(new, Missing):
        return new, NOTHING, NOTHING
    if isinstance(old, Missing):
        return NOT_SAMPLED, NOTHING, NOTHING
    external: dict[str, NetRates] = {}
    internal: dict[str, NetRates] = {}
    if new is old:
        for name, counters in new.items():
            (external if counters.external else internal)[name] = IDLE_NET
        return IDLE_NET, external, internal
    uncounted = False  # an external interface is there, and none could be counted yet
    for name, after in new.items():
        before = old.get(name)
        if before is None:
            uncounted |= after.external
            continue
        grown = (
            after.rx_bytes - before.rx_bytes,
            after.tx_bytes - before.tx_bytes,
            after.rx_packets - before.rx_packets,
            after.tx_packets - before.tx_packets,
            after.rx_errors - before.rx_errors + after.tx_errors - before.tx_errors,
            after.rx_drops - before.rx_drops + after.tx_drops - before.tx_drops,
        )
        if min(grown) >= 0:
            (external if after.external else internal)[name] = NetRates(*(count / seconds for count in grown))
        elif after.external:
            return NOT_SAMPLED, NOTHING, NOTHING
    if len(external) == 1:  # the usual case: no sum is needed
        return next(iter(external.values())), external, internal
    if uncounted and not external:
        return NOT_SAMPLED, external, internal
    total = (
        sum(r.rx_bytes for r in external.values()),
        sum(r.tx_bytes for r in external.values()),
        sum(r.rx_packets for r in external.values()),
        sum(r.tx_packets for r in external.values()),
        sum(r.errors for r in external.values()),
        sum(r.drops for r in external.values()),
    )
    return NetRates(*(float(value) for value in total)), external, internal


ZERO_IO = IoCounters()
IDLE_IO = IoRates(0.0, 0.0, 0.0, 0.0)
IDLE_NET = NetRates(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
