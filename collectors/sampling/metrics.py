"""The registry of metrics: every number that is measured about a container or the host, each declared once.

History, the totals of groups, drift, the fields of the table, the graphs and `stats --json` are all made from these two
tables, so a metric that is added here is in all of them. A counter or gauge of `Sample` that `Usage` has no field for
needs no more than an entry with `from_sample`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final, Generic, TypeAlias, TypeVar

from collectors.sampling.frame import HostUsage, IoRates, NetRates, Pressure, Usage
from collectors.sampling.sample import Sample
from runtime.model import LimitName, Missing, Unlimited

MetricValue: TypeAlias = float | Unlimited | Missing
Source = TypeVar("Source", Usage, HostUsage)


class MetricUnit(StrEnum):
    """What a value counts; the text stands in the help. Shares are 0 to 1."""

    CORES = "cores"  # ns of CPU time per ns
    BYTES = "bytes"
    BYTES_PER_S = "bytes/s"
    SHARE_OF_TIME = "of time"
    SHARE_OF_LIMIT = "of limit"
    TASKS = "tasks"
    PER_S = "per second"
    WEIGHT = "weight"


class MetricType(StrEnum):
    """Where a value comes from. RATE and TOTAL are counters: the kernel only adds to them while the cgroup lives."""

    GAUGE = "gauge"  # of the moment
    RATE = "rate"  # the growth of a counter, per second (of CORES and SHARE_OF_TIME: ns per ns)
    TOTAL = "total"  # a counter as it stands, since the cgroup was made


@dataclass(frozen=True, slots=True)
class Metric(Generic[Source]):
    """One number.

    Attributes:
        id: its name in settings, in JSON and in the history.
        unit: of the value.
        type: gauge, or one of the two kinds of counter.
        about: one line of help.
        extract: the value in a `Usage` or `HostUsage`, or a `Missing` that says why there is none.
        summable: a group without a cgroup of its own has the sum of its members; without this it has no value, except
            where `extract` works the value out from other metrics.
        history: every sample of the last minutes is kept.
        drawn: has a graph on the detail screen; needs `history`.
        limit: this is a limit in force, by which a change that somebody else made is noticed.
        read: the raw counter (ns where the unit is CORES or SHARE_OF_TIME) or gauge in a `Sample`; only of metrics that
            have no field in `Usage`.
    """

    id: str
    unit: MetricUnit
    type: MetricType
    about: str
    extract: Callable[[Source], MetricValue]
    _: KW_ONLY
    summable: bool = False
    history: bool = True
    drawn: bool = False
    limit: LimitName | None = None
    read: Callable[[Sample], int | Missing] | None = None


def from_sample(
    id: str,
    unit: MetricUnit,
    type: MetricType,
    about: str,
    read: Callable[[Sample], int | Missing],
    *,
    summable: bool = False,
    drawn: bool = False,
) -> Metric[Usage]:
    """A metric for which `Usage` has no field: `rates.derive` puts its value into `Usage.extra`."""
    return Metric(
        id,
        unit,
        type,
        about,
        lambda usage: usage.extra.get(id, Missing.NOT_SAMPLED),
        summable=summable,
        drawn=drawn,
        read=read,
    )


def _field(name: str) -> Callable[[Source], MetricValue]:
    return attrgetter(name)


def _io(name: str) -> Callable[[Usage], MetricValue]:
    get: Callable[[IoRates], float | Missing] = attrgetter(name)
    return lambda usage: usage.io if isinstance(usage.io, Missing) else get(usage.io)


def _net(name: str) -> Callable[[Usage], MetricValue]:
    get: Callable[[NetRates], float] = attrgetter(name)
    return lambda usage: usage.net if isinstance(usage.net, Missing) else get(usage.net)


def _pressure(resource: str, name: str) -> Callable[[Source], MetricValue]:
    get: Callable[[Pressure], float | Missing] = attrgetter(name)

    def extract(usage: Source) -> MetricValue:
        pressure = usage.pressure.get(resource)
        return Missing.UNSUPPORTED if pressure is None else get(pressure)

    return extract


def _worst_pressure(usage: Usage) -> MetricValue:
    known = [p.some for p in usage.pressure.values() if not isinstance(p.some, Missing)]
    if known:
        return max(known)
    return next((p.some for p in usage.pressure.values()), Missing.UNSUPPORTED)


def _share_of_limit(used_name: str, limit_name: str) -> Callable[[Usage], MetricValue]:
    def extract(usage: Usage) -> MetricValue:
        used, limit = getattr(usage, used_name), getattr(usage, limit_name)
        if isinstance(used, Missing) or isinstance(limit, Missing):
            return used if isinstance(used, Missing) else limit
        share: float | Missing = Missing.UNSUPPORTED if isinstance(limit, Unlimited) or not limit else used / limit
        return share

    return extract


_CORES, _BYTES, _BYTES_PER_S = MetricUnit.CORES, MetricUnit.BYTES, MetricUnit.BYTES_PER_S
_TIME, _OF_LIMIT, _TASKS = MetricUnit.SHARE_OF_TIME, MetricUnit.SHARE_OF_LIMIT, MetricUnit.TASKS
_PER_S, _WEIGHT = MetricUnit.PER_S, MetricUnit.WEIGHT
_GAUGE, _RATE, _TOTAL = MetricType.GAUGE, MetricType.RATE, MetricType.TOTAL


def _usage(
    id: str,
    unit: MetricUnit,
    type: MetricType,
    about: str,
    *,
    summable: bool = False,
    history: bool = True,
    drawn: bool = False,
    limit: LimitName | None = None,
) -> Metric[Usage]:
    """A metric that is a field of `Usage`, of the same name."""
    return Metric(id, unit, type, about, _field(id), summable=summable, history=history, drawn=drawn, limit=limit)


def _stall(resource: str, words: str, *, full: bool, drawn: bool = False) -> Metric[Any]:
    """PSI of one resource, of a container or of the host: the share of time in which some or all tasks waited."""
    return Metric(
        f"pressure_{resource}_full" if full else f"pressure_{resource}",
        _TIME,
        _RATE,
        f"{'Every' if full else 'Some'} task waited for {words}",
        _pressure(resource, "full" if full else "some"),
        drawn=drawn,
    )


_RESOURCES: Final = {"cpu": "CPU", "memory": "memory", "io": "a block device"}


_CONTAINER: Final[tuple[Metric[Usage], ...]] = (
    _usage("cpu", _CORES, _RATE, "CPU used, in cores", summable=True, drawn=True),
    _usage("cpu_user", _CORES, _RATE, "CPU used by the programs themselves, in cores", summable=True),
    _usage("cpu_system", _CORES, _RATE, "CPU used by the kernel for them, in cores", summable=True),
    _usage("cpu_limit", _CORES, _GAUGE, "CPU limit, in cores", summable=True, history=False, limit=LimitName.CPUS),
    Metric("cpu_share", _OF_LIMIT, _RATE, "CPU used, of its limit", _share_of_limit("cpu", "cpu_limit"), history=False),
    _usage("throttled_share", _TIME, _RATE, "Periods cut short by its own CPU limit"),
    _usage("throttled", _CORES, _RATE, "CPU held back by its own limit, in cores", summable=True),
    _usage("waiting", _TIME, _RATE, "Waiting for CPU that others use"),
    _usage("cpu_weight", _WEIGHT, _GAUGE, "CPU weight, 100 being normal", history=False),
    _usage("memory", _BYTES, _GAUGE, "Memory used, with page cache", summable=True, drawn=True),
    _usage("memory_limit", _BYTES, _GAUGE, "Memory limit", summable=True, history=False, limit=LimitName.MEMORY),
    Metric(
        "memory_share",
        _OF_LIMIT,
        _GAUGE,
        "Memory used, of its limit",
        _share_of_limit("memory", "memory_limit"),
        history=False,
    ),
    _usage("working_set", _BYTES, _GAUGE, "Memory less the file cache that can go", summable=True),
    _usage("anon", _BYTES, _GAUGE, "Memory of the programs themselves", summable=True),
    _usage("file", _BYTES, _GAUGE, "Page cache, without shared memory", summable=True),
    _usage("shared", _BYTES, _GAUGE, "Shared memory and tmpfs", summable=True),
    _usage("swap", _BYTES, _GAUGE, "Memory swapped out", summable=True),
    _usage("memory_peak", _BYTES, _GAUGE, "Most memory since its start", history=False),
    _usage("oom_kills", _TASKS, _TOTAL, "Processes killed for lack of memory", summable=True, history=False),
    _usage("refaults", _PER_S, _RATE, "Pages read again soon after they were reclaimed", summable=True),
    _usage("major_faults", _PER_S, _RATE, "Page faults that waited for a disk", summable=True),
    Metric(
        "net_rx",
        _BYTES_PER_S,
        _RATE,
        "Received from outside, counted once",
        _net("rx_bytes"),
        summable=True,
        drawn=True,
    ),
    Metric(
        "net_tx", _BYTES_PER_S, _RATE, "Sent to the outside, counted once", _net("tx_bytes"), summable=True, drawn=True
    ),
    _usage("retransmits", _PER_S, _RATE, "TCP segments sent again, of a busy network"),
    _usage("backlog", _BYTES, _GAUGE, "Waiting in the queues of its interfaces, of a busy network"),
    Metric(
        "io_read", _BYTES_PER_S, _RATE, "Read from disks, counted once", _io("read_bytes"), summable=True, drawn=True
    ),
    Metric(
        "io_write",
        _BYTES_PER_S,
        _RATE,
        "Written to disks or to their page cache, counted once",
        _io("write_bytes"),
        summable=True,
        drawn=True,
    ),
    _usage("io_weight", _WEIGHT, _GAUGE, "Weight for block devices, 100 being normal", history=False),
    _usage("pids", _TASKS, _GAUGE, "Processes and threads", summable=True),
    _usage(
        "pids_limit", _TASKS, _GAUGE, "Most processes and threads", summable=True, history=False, limit=LimitName.PIDS
    ),
    Metric("pressure", _TIME, _RATE, "The worst of its pressures: some task waited", _worst_pressure, history=False),
    *(_stall(name, words, full=False, drawn=True) for name, words in _RESOURCES.items()),
    *(_stall(name, words, full=True) for name, words in _RESOURCES.items()),
)

METRICS: Final[Mapping[str, Metric[Usage]]] = {metric.id: metric for metric in _CONTAINER}
"""The numbers of a container, in the order in which they are listed."""

_HOST: Final[tuple[Metric[HostUsage], ...]] = (
    Metric("ncpu", _CORES, _GAUGE, "Processors", _field("ncpu"), history=False),
    Metric("cpu", _CORES, _RATE, "CPU used, in cores", _field("cpu")),
    Metric("steal", _CORES, _RATE, "CPU that the hypervisor gave to other machines, in cores", _field("steal")),
    Metric("memory_total", _BYTES, _GAUGE, "Memory of the host", _field("memory_total"), history=False),
    Metric("memory_used", _BYTES, _GAUGE, "Memory that no program could have", _field("memory_used")),
    Metric("swap_total", _BYTES, _GAUGE, "Swap space of the host", _field("swap_total"), history=False),
    Metric("swap_used", _BYTES, _GAUGE, "Memory swapped out", _field("swap_used")),
    Metric("load1", _TASKS, _GAUGE, "Load average of one minute", _field("load1")),
    Metric("tasks", _TASKS, _GAUGE, "Processes and threads", _field("tasks")),
    Metric("tasks_limit", _TASKS, _GAUGE, "Most processes and threads", _field("tasks_limit"), history=False),
    Metric("forks", _PER_S, _RATE, "Processes and threads made", _field("forks")),
    Metric("net_rx", _BYTES_PER_S, _RATE, "Received by network cards", _field("net_rx")),
    Metric("net_tx", _BYTES_PER_S, _RATE, "Sent by network cards", _field("net_tx")),
    Metric("io_read", _BYTES_PER_S, _RATE, "Read from disks", _field("io_read")),
    Metric("io_write", _BYTES_PER_S, _RATE, "Written to disks", _field("io_write")),
    *(_stall(name, words, full=False) for name, words in _RESOURCES.items()),
    *(_stall(name, words, full=True) for name, words in _RESOURCES.items()),
)

HOST_METRICS: Final[Mapping[str, Metric[HostUsage]]] = {metric.id: metric for metric in _HOST}
"""The numbers of the machine."""
