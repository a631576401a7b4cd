"""Makes the data of graphs from the history of a container."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Final

from collectors.history.rings import History
from collectors.sampling.frame import NOTHING, Frame, Usage
from collectors.sampling.metrics import METRICS, Metric
from runtime.kernel import block
from runtime.limits.controllers.network import Queue, achieved
from runtime.model import Missing, Ref, Unlimited
from tui.present import format as fmt
from tui.present.timeline import Window, place, top
from tui.present.units import KIB_BYTES, UNITS

NOT_MEASURED: Final = "not measured now"
MAX_UNADDED: Final = 3  # interfaces or devices that are named


@dataclass(frozen=True, slots=True)
class Plot:
    """The data of a graph.

    Attributes:
        values: one per slot of the window, None is a gap.
        held: throttled time, likewise, drawn above the values.
        top: the value at the upper edge.
        limit: the value of the limit line.
        figures: now, mean and maximum as text.
        notes: more text below the figures.
        brief: the most important note, which replaces mean and maximum on a graph of one line.
        show: a value as text, for the scale.
    """

    values: Sequence[float | None]
    top: float
    figures: tuple[str, str, str]
    show: Callable[[float], str]
    held: Sequence[float | None] = ()
    _: KW_ONLY
    limit: float | None = None
    notes: tuple[str, ...] = ()
    brief: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One graph.

    Attributes:
        id: of its widget.
        title, name: long and short.
        metric: in the history.
        show: a value as text.
        floor: the least upper end of the scale.
        fixed: the upper end is always `floor`.
        base: of the round numbers at which the scale ends.
        twin: the metric of the other direction, which has the same scale.
    """

    id: str
    title: str
    name: str
    metric: str
    show: Callable[[float], str]
    floor: float
    base: int = 1000
    fixed: bool = False
    twin: str = ""


@dataclass(frozen=True, slots=True)
class Shaped:
    """A network rate in one direction: bits per second, and its queue's statistics of the last interval as texts.

    `brief` is the most severe of the texts.
    """

    rate: int
    words: tuple[str, ...]
    brief: str = ""


def shaped(queue: Queue | None, before: Queue | None, seconds: float) -> Shaped | None:
    """The texts of a queue, from it and from its state `seconds` before; None without a limit."""
    if queue is None or not isinstance(queue.rate, int):
        return None
    words = [f"limit {fmt.bits(queue.rate / 8)}"]
    brief = words[0]
    waiting = f"queued {fmt.size(queue.backlog_bytes)}"
    if queue.backlog_bytes:
        brief = waiting
    passed = achieved(before, queue, seconds) if before is not None else None
    if passed is not None and before is not None:
        drops = max(0, queue.drops - before.drops)
        words += [f"passed {fmt.bits(passed / 8)}", f"dropped {fmt.count(drops)}"]
        brief = words[-1] if drops else brief
    return Shaped(queue.rate, (*words, waiting), brief)


def of_metric(metric: Metric[Usage]) -> Measure:
    """The graph of a metric; without an entry in `_GRAPHS` the registry gives its title and the unit its scale."""
    unit, graph = UNITS[metric.unit], _GRAPHS.get(metric.id, _Graph(metric.about, metric.id.replace("_", " ")))
    return Measure(
        id=f"graph-{metric.id.replace('_', '-')}",
        title=graph.title,
        name=graph.name,
        metric=metric.id,
        show=unit.show,
        floor=graph.floor or unit.floor,
        base=unit.base,
        fixed=unit.fixed,
        twin=graph.twin,
    )


@dataclass(frozen=True, slots=True)
class _Graph:
    """How a metric's graph differs from what its unit gives; the attributes are those of `Measure`, 0 is the unit's."""

    title: str
    name: str
    floor: float = 0.0
    twin: str = ""


_GRAPHS: Final[Mapping[str, _Graph]] = {
    "cpu": _Graph("CPU, cores", "cpu"),
    "memory": _Graph("memory, with page cache", "memory"),
    "net_rx": _Graph("network in, per second", "net in", twin="net_tx"),
    "net_tx": _Graph("network out, per second", "net out", twin="net_rx"),
    "io_read": _Graph("disk read, per second", "read", 64 * KIB_BYTES, twin="io_write"),
    "io_write": _Graph("disk write, per second", "write", 64 * KIB_BYTES, twin="io_read"),
    "pressure_cpu": _Graph("time in which some task waited for CPU", "psi cpu"),
    "pressure_memory": _Graph("time in which some task waited for memory", "psi mem"),
    "pressure_io": _Graph("time in which some task waited for disk", "psi io"),
}
CPU: Final = of_metric(METRICS["cpu"])
MEMORY: Final = of_metric(METRICS["memory"])
SMALL: Final = tuple(of_metric(m) for m in METRICS.values() if m.drawn and m.id not in (CPU.metric, MEMORY.metric))


class Plots:
    """Makes the plots of one container at one frame, all over the same window."""

    def __init__(
        self,
        history: History,
        ref: Ref,
        frame: Frame,
        window: Window,
        interval: float,
        shaped: Mapping[str, Shaped] = NOTHING,
    ) -> None:
        """`shaped` are the limits of the network, by metric."""
        self._history, self._ref = history, ref
        self._frame, self._window = frame, window
        self._interval_ns = max(int(interval * 1e9), frame.interval_ns)
        self._usage: Usage | None = frame.usages.get(ref)
        self._shaped = shaped
        self._placed: dict[str, list[float | None]] = {}

    def cpu(self) -> Plot:
        """Usage, and above it throttled time. The scale is that of the limit or of the machine."""
        values, held = self._values("cpu"), self._values("throttled")
        peak, ncpu = _peak(values), float(self._frame.host.ncpu)
        limit = _number(self._usage.cpu_limit if self._usage else None)
        notes = [_limit_words(self._usage.cpu_limit, "CPU", CPU.show) if self._usage else NOT_MEASURED]
        if limit is not None and limit < ncpu:
            high = min(top(peak, limit=limit, floor=CPU.floor), max(ncpu, peak))
        else:
            high = max(ncpu, peak)
        back = _number(self._usage.throttled if self._usage else None)
        share = _number(self._usage.throttled_share if self._usage else None)
        if back:
            notes += [f"held back {CPU.show(back)}"]
        if share:
            notes += [f"periods cut {fmt.share(share)}"]
        line = limit if limit is not None and limit <= high else None
        return Plot(
            values, high, self._figures("cpu", values, CPU.show), CPU.show, held, limit=line, notes=tuple(notes)
        )

    def memory(self) -> Plot:
        """Usage against its limit."""
        values = self._values("memory")
        usage = self._usage
        limit = _number(usage.memory_limit if usage else None)
        notes = [NOT_MEASURED]
        if usage is not None:
            notes = [_limit_words(usage.memory_limit, "memory", fmt.size)]
            parts = (("programs", usage.anon), ("shared", usage.shared), ("cache", usage.file), ("swap", usage.swap))
            notes += [f"{word} {fmt.size(number)}" for word, value in parts if (number := _number(value)) is not None]
            kills = _number(usage.oom_kills)
            if kills:
                notes.insert(1, f"OOM kills {fmt.count(kills)}")
        high = top(_peak(values), limit=limit, floor=MEMORY.floor, base=MEMORY.base)
        return Plot(values, high, self._figures("memory", values, fmt.size), fmt.size, limit=limit, notes=tuple(notes))

    def small(self, measure: Measure) -> Plot:
        """The plot of another measure."""
        values = self._values(measure.metric)
        peak = max(_peak(values), _peak(self._values(measure.twin)) if measure.twin else 0.0)
        shaped = self._shaped.get(measure.metric)
        limit = shaped.rate / 8 if shaped is not None else None
        high = measure.floor if measure.fixed else top(peak, limit=limit, floor=measure.floor, base=measure.base)
        notes, brief = (shaped.words, shaped.brief) if shaped is not None else ((), "")
        notes += _unadded(self._usage, measure)
        if self._usage is not None and self._usage.net_shared and measure.metric.startswith("net"):
            notes, brief = ("the host's network",), "the host's"
        line = limit if limit is not None and limit <= high else None
        figures = self._figures(measure.metric, values, measure.show)
        return Plot(values, high, figures, measure.show, limit=line, notes=notes, brief=brief)

    def _values(self, metric: str) -> list[float | None]:
        """The slots of one metric, computed once, since each direction of a pair needs both."""
        if metric not in self._placed:
            series = self._history.series(self._ref, metric)
            self._placed[metric] = place(series.times_ns, series.values, self._window, self._interval_ns)
        return self._placed[metric]

    def _figures(
        self, metric: str, values: Sequence[float | None], show: Callable[[float], str]
    ) -> tuple[str, str, str]:
        """The last sample, and mean and maximum of what the window holds."""
        now = self._history.series(self._ref, metric).values[-1:]
        known = [value for value in values if value is not None]
        found = (now[0] if now else None, sum(known) / len(known) if known else None, max(known, default=None))
        first, second, third = (fmt.GAP if value is None else show(value) for value in found)
        return first, second, third


def _unadded(usage: Usage | None, measure: Measure) -> tuple[str, ...]:
    """Why a rate is missing; the interfaces or devices that are not added to it, since what they carry is in it."""
    if usage is None:
        return ()
    value = METRICS[measure.metric].extract(usage)
    if isinstance(value, Missing) and value is not Missing.NOT_SAMPLED and not usage.net_shared:
        return (f"not measured: {value}",)
    within: Mapping[str, float | Missing] = {}
    if measure.metric == "net_rx":
        within = {name: rates.rx_bytes for name, rates in usage.net_internal.items()}
    elif measure.metric == "net_tx":
        within = {name: rates.tx_bytes for name, rates in usage.net_internal.items()}
    elif measure.metric == "io_read":
        within = {block.name(number): rates.read_bytes for number, rates in usage.io_stacked.items()}
    elif measure.metric == "io_write":
        within = {block.name(number): rates.write_bytes for number, rates in usage.io_stacked.items()}
    busy = sorted(
        ((rate, name) for name, rate in within.items() if not isinstance(rate, Missing) and rate), reverse=True
    )
    parts = [f"{fmt.clean(name)} {measure.show(rate)}" for rate, name in busy[:MAX_UNADDED]]
    return (f"apart: {', '.join(parts)}",) if parts else ()


def _limit_words(limit: float | Unlimited | Missing, what: str, show: Callable[[float], str]) -> str:
    """The limit as text; no limit and an unknown limit differ."""
    if isinstance(limit, Missing):
        return f"limit: {'not read yet' if limit is Missing.NOT_SAMPLED else limit}"
    return f"no {what} limit" if isinstance(limit, Unlimited) else f"limit {show(limit)}"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _peak(values: Sequence[float | None]) -> float:
    return max((value for value in values if value is not None), default=0.0)
