"""Everything that is shown about a container, each field once: for the table, the detail screen, `ps` and `stats`.

Free of Textual. `extract` gives the raw value (cores, bytes, bytes per second, shares of one, text), `UNLIMITED`, or a
`Missing` that says why there is none; `format` makes short text of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import floor, inf, log10
from typing import Any, Final, Literal, TypeAlias

from collectors.sampling.frame import IoRates, NetRates, Usage
from runtime.model import Container, ContainerRef, Missing, State, Unlimited
from tui.present import format as fmt

Value: TypeAlias = str | float | Unlimited | Missing
Extract: TypeAlias = Callable[[Container, Usage | None], Value]

_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Field:
    """One fact about a container.

    Attributes:
        id: its name in settings and JSON.
        title: the head of its column.
        unit: of the raw value; empty for text.
        about: one line of help.
        width, most: cells that a column needs at least and can use at most.
        extract: the raw value from what the engine says and what was measured (None while it is not live).
        show: text of a value that is there.
        rank: which columns stay when the screen is narrow, the lowest first.
        shown: part of the table unless the settings choose otherwise.
        grain: differences below this do not change the order of rows.
        falling: the largest first, when this is chosen to sort by.
    """

    id: str
    title: str
    unit: str
    about: str
    width: int
    extract: Extract
    show: Callable[[Any], str]
    rank: int
    align: Literal["left", "right"] = "right"
    most: int = 0
    shown: bool = True
    grain: float = 0.0
    falling: bool = True

    def format(self, value: Value) -> str:
        """Short text in ASCII for numbers; "-" for a value that is missing, "max" for no limit."""
        if isinstance(value, Missing):
            return fmt.GAP
        return "max" if isinstance(value, Unlimited) else self.show(value)

    def sort_key(self, value: Value) -> tuple[float, tuple[tuple[float, str], ...]]:
        """Orders values of this field; numbers that look the same are the same. A missing one is the smallest."""
        if isinstance(value, str):
            return 0.0, natural(value)
        if isinstance(value, Missing):
            return -1.0, ()
        return inf if isinstance(value, Unlimited) else steady(value, self.grain), ()


def natural(text: str) -> tuple[tuple[float, str], ...]:
    """A key that sorts "web-9" before "web-10" and does not mind case."""
    return tuple(
        (float(part), "") if part.isdecimal() else (-1.0, part) for part in _DIGITS.split(text.casefold()) if part
    )


def steady(value: float, grain: float) -> float:
    """The value with two digits, and no finer than `grain`: what wobbles less than that keeps its place."""
    if value <= 0:
        return 0.0
    step = max(grain, 10.0 ** (floor(log10(value)) - 1))
    return round(value / step) * step


def arrange(
    containers: Iterable[Container], usages: Mapping[ContainerRef, Usage], field: Field, *, falling: bool
) -> list[Container]:
    """Sort by a field; equal ones by name, those without a value last in both directions."""
    there: list[tuple[Any, Container]] = []
    missing: list[Container] = []
    for container in sorted(containers, key=lambda c: (natural(c.name), c.ref)):
        value = field.extract(container, usages.get(container.ref))
        if isinstance(value, Missing):
            missing.append(container)
        else:
            there.append((field.sort_key(value), container))
    there.sort(key=lambda pair: pair[0], reverse=falling)  # stable in reverse too
    return [container for _, container in there] + missing


def matches(container: Container, words: str) -> bool:
    """Whether every word is somewhere in name, image, engine, state, group, id or labels; case does not matter."""
    labels = (f"{key}={value}" for key, value in container.labels.items())
    texts = (
        container.name,
        container.image,
        container.ref.engine,
        container.state.value,
        container.group_name,
        container.ref.id,
    )
    hay = "\n".join((*texts, *labels)).casefold()
    return all(word in hay for word in words.casefold().split())


def _used(name: str) -> Extract:
    """A number of `Usage`."""
    return lambda _, usage: Missing.NOT_SAMPLED if usage is None else getattr(usage, name)


def _part(group: Literal["io", "net"], name: str) -> Extract:
    def extract(_: Container, usage: Usage | None) -> Value:
        if usage is None:
            return Missing.NOT_SAMPLED
        rates: IoRates | NetRates | Missing = getattr(usage, group)
        if isinstance(rates, Missing):
            return rates
        value: float = getattr(rates, name)
        return value

    return extract


def _of_limit(used: str, limit: str) -> Extract:
    def extract(_: Container, usage: Usage | None) -> Value:
        if usage is None:
            return Missing.NOT_SAMPLED
        value, most = getattr(usage, used), getattr(usage, limit)
        if isinstance(value, Missing) or isinstance(most, Missing):
            return value if isinstance(value, Missing) else most
        return Missing.UNSUPPORTED if isinstance(most, Unlimited) or not most else value / most

    return extract


def _pressure(resource: str) -> Extract:
    def extract(_: Container, usage: Usage | None) -> Value:
        if usage is None:
            return Missing.NOT_SAMPLED
        found = usage.pressure.get(resource)
        return found.some if found is not None else Missing.UNSUPPORTED

    return extract


def _worst_pressure(_: Container, usage: Usage | None) -> Value:
    if usage is None:
        return Missing.NOT_SAMPLED
    known = [p.some for p in usage.pressure.values() if not isinstance(p.some, Missing)]
    if known:
        return max(known)
    return next((p.some for p in usage.pressure.values()), Missing.UNSUPPORTED)


def _state(container: Container, _: Usage | None) -> str:
    if container.state is State.EXITED and container.oom_killed:
        return "oom-killed"
    if container.state is State.EXITED and container.exit_code is not None:
        return f"exited {container.exit_code}"
    if container.state is State.RUNNING and container.health in ("unhealthy", "starting"):
        return container.health
    return container.state.value


def _up(container: Container, _: Usage | None) -> Value:
    since = container.started_ns if container.state.live else container.finished_ns
    return Missing.UNSUPPORTED if not since else max(0.0, (time.time_ns() - since) / 1e9)


def _text(get: Callable[[Container], str]) -> Extract:
    def extract(container: Container, _: Usage | None) -> Value:
        return get(container) or Missing.UNSUPPORTED

    return extract


def _words(
    id: str, title: str, about: str, width: int, extract: Extract, rank: int, most: int, shown: bool = True
) -> Field:
    return Field(id, title, "", about, width, extract, fmt.clean, rank, "left", most, shown, falling=False)


def _number(unit: str, show: Callable[[Any], str], grain: float) -> Callable[..., Field]:
    """Makes fields of one unit; the number of `Usage` with the field's name is extracted unless said otherwise."""

    def make(
        id: str, title: str, about: str, width: int, rank: int, extract: Extract | None = None, *, shown: bool = True
    ) -> Field:
        return Field(id, title, unit, about, width, extract or _used(id), show, rank, shown=shown, grain=grain)

    return make


_cores = _number("cores", fmt.cores, 0.05)
_bytes = _number("bytes", fmt.size, 1 << 20)
_rate = _number("bytes/s", fmt.rate, 1024)
_share = _number("of time", fmt.share, 0.05)
_limit_share = _number("of limit", fmt.share, 0.02)
_tasks = _number("tasks", fmt.count, 1)

_ALL: Final = (
    _words("state", "state", "Where it is in its life, with its exit status", 12, _state, 1, 12),
    _words("name", "name", "Its name", 16, _text(lambda c: c.name or c.ref.short), 0, 40),
    _words("image", "image", "What it was created from", 12, _text(lambda c: c.image), 15, 40),
    _words("engine", "engine", "Who runs it", 8, _text(lambda c: c.ref.engine), 12, 12),
    _words("group", "group", "Its compose project or pod", 8, _text(lambda c: c.group_name), 21, 20, shown=False),
    _words("id", "id", "The beginning of its id", 12, _text(lambda c: c.ref.short), 22, 12, shown=False),
    _words("addresses", "address", "Its network addresses", 12, _text(lambda c: " ".join(c.addresses)), 19, 32),
    _cores("cpu", "cpu", "CPU used, in cores", 5, 2),
    _cores("cpu_limit", "limit", "CPU limit, in cores", 6, 4),
    _limit_share("cpu_share", "cpu%", "CPU used, of its limit", 5, 16, _of_limit("cpu", "cpu_limit")),
    _share("throttled_share", "thrtl", "Periods cut short by its own CPU limit", 5, 6),
    _cores("throttled", "held", "CPU held back by its own limit, in cores", 5, 23, shown=False),
    _share("waiting", "wait", "Waiting for CPU that others use", 4, 9),
    _bytes("memory", "mem", "Memory used, with page cache", 5, 3),
    _bytes("memory_limit", "limit", "Memory limit", 6, 5),
    _limit_share("memory_share", "mem%", "Memory used, of its limit", 5, 17, _of_limit("memory", "memory_limit")),
    _bytes("working_set", "wset", "Memory less the file cache that can go", 5, 24, shown=False),
    _bytes("anon", "anon", "Memory of the programs themselves", 5, 25, shown=False),
    _bytes("file", "file", "Page cache", 5, 26, shown=False),
    _bytes("swap", "swap", "Memory swapped out", 5, 20, shown=False),
    _bytes("memory_peak", "peak", "Most memory since its start", 5, 27, shown=False),
    _tasks("oom_kills", "oom", "Processes killed for lack of memory", 4, 18),
    _rate("net_rx", "net in", "Received from the network", 6, 10, _part("net", "rx_bytes")),
    _rate("net_tx", "out", "Sent to the network", 5, 10, _part("net", "tx_bytes")),
    _rate("io_read", "read", "Read from block devices", 5, 11, _part("io", "read_bytes")),
    _rate("io_write", "write", "Written to block devices", 5, 11, _part("io", "write_bytes")),
    _tasks("pids", "pids", "Processes and threads", 5, 8),
    _tasks("pids_limit", "limit", "Most processes and threads", 6, 18),
    _share("pressure", "psi", "The worst of its pressures: some task waited", 4, 7, _worst_pressure),
    _share("pressure_cpu", "psi cpu", "Some task waited for CPU", 7, 28, _pressure("cpu"), shown=False),
    _share("pressure_memory", "psi mem", "Some task waited for memory", 7, 28, _pressure("memory"), shown=False),
    _share("pressure_io", "psi io", "Some task waited for a block device", 6, 28, _pressure("io"), shown=False),
    Field("up", "since", "seconds", "For how long it runs, or is stopped", 5, _up, fmt.age, 14, falling=False),
)

FIELDS: Final[Mapping[str, Field]] = {field.id: field for field in _ALL}
