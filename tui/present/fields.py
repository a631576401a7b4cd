"""The registry of fields of a container: the table, the detail screen, `ps` and `stats` show these.

Numbers come from the registry of metrics (`collectors.sampling.metrics`); texts and the layout of columns are defined
here. `extract` gives the raw value (cores, bytes, bytes per second, shares of one, text),
`UNLIMITED`, or a `Missing` that says why there is none; `format` makes short text of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from math import floor, inf, log10
from typing import Any, Final, Literal, TypeAlias, TypeVar

from collectors.sampling.frame import Usage
from collectors.sampling.metrics import METRICS, Metric
from runtime.model import Container, GroupRef, Missing, Ref, Unlimited
from tui.core.subject import Group, Subject
from tui.present import format as fmt
from tui.present.state_text import state_text
from tui.present.units import UNITS

Value: TypeAlias = str | float | Unlimited | Missing
S = TypeVar("S", bound=Subject)
Extract: TypeAlias = Callable[[Subject, Usage | None], Value]

MAX_SORTED_NAMES: Final = 2048  # whose sort keys are kept
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    Attributes:
        id: its name in settings and JSON.
        title: the heading of its column.
        unit: of the raw value; empty for text.
        about: one line of help.
        width, max_width: the least and the greatest width of the column in cells.
        extract: the raw value from the inventory and the usage (None while it is not live).
        show: a value as text.
        rank: on a narrow screen the columns with the lowest ranks are kept.
        default: shown unless the settings choose the columns.
        grain: differences below this do not change the order of rows.
        falling: sorted in descending order at first.
    """

    id: str
    title: str
    unit: str
    about: str
    width: int
    extract: Extract
    _: KW_ONLY
    show: Callable[[Any], str]
    rank: int
    align: Literal["left", "right"] = "right"
    max_width: int = 0
    default: bool = True
    grain: float = 0.0
    falling: bool = True

    def format(self, value: Value) -> str:
        """Short text in ASCII for numbers; "-" for a value that is missing, "max" for no limit."""
        if isinstance(value, Missing):
            return fmt.GAP
        return "max" if isinstance(value, Unlimited) else self.show(value)

    def sort_key(self, value: Value) -> tuple[float, tuple[tuple[float, str], ...]]:
        """Orders values of this field; values within the grain are equal. A missing one is the smallest."""
        if isinstance(value, str):
            return 0.0, natural(value)
        if isinstance(value, Missing):
            return -1.0, ()
        return inf if isinstance(value, Unlimited) else rounded(value, self.grain), ()


@lru_cache(maxsize=MAX_SORTED_NAMES)
def natural(text: str) -> tuple[tuple[float, str], ...]:
    """A sort key that puts "web-9" before "web-10" and ignores case."""
    return tuple(
        (float(part), "") if part.isdecimal() else (-1.0, part) for part in _DIGITS.split(text.casefold()) if part
    )


def rounded(value: float, grain: float) -> float:
    """The value rounded to two digits, and to `grain`, so that small fluctuations do not change the order."""
    if value <= 0:
        return 0.0
    step = max(grain, 10.0 ** (floor(log10(value)) - 1))
    return round(value / step) * step


def arrange(subjects: Iterable[S], usages: Mapping[Ref, Usage], field: Field, *, falling: bool) -> list[S]:
    """Sort by a field, then by name; those without a value come last in both directions."""
    valued: list[tuple[Any, S]] = []
    missing: list[S] = []
    for subject in sorted(subjects, key=lambda each: (natural(each.name), each.ref)):
        value = field.extract(subject, usages.get(subject.ref))
        if isinstance(value, Missing):
            missing.append(subject)
        else:
            valued.append((field.sort_key(value), subject))
    valued.sort(key=lambda pair: pair[0], reverse=falling)  # stable in reverse too
    return [subject for _, subject in valued] + missing


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


def description(subject: Subject) -> str:
    """The image; of a group the number of live members and its kind."""
    if isinstance(subject, Group):
        members = len(subject.members)
        count = f"{subject.live} live" if subject.live == members else f"{subject.live} of {members} live"
        return f"{count}, {subject.ref.kind}"
    return subject.image if isinstance(subject, Container) else ""


def runner(subject: Subject) -> str:
    """The engine's key, or "group"."""
    return "group" if isinstance(subject.ref, GroupRef) else subject.ref.engine


def _group_name(subject: Subject) -> str:
    if isinstance(subject, Container):
        return subject.group_name
    return subject.ref.name if isinstance(subject.ref, GroupRef) else ""


def _state(subject: Subject, _: Usage | None) -> str:
    return state_text(subject)


def _restarts(subject: Subject, _: Usage | None) -> Value:
    count = subject.restarts if isinstance(subject, Container) else None
    return Missing.UNSUPPORTED if count is None else count


def _up(subject: Subject, _: Usage | None) -> Value:
    since = subject.started_ns if subject.state.live else subject.finished_ns
    return Missing.UNSUPPORTED if not since else max(0.0, (time.time_ns() - since) / 1e9)


def _text(get: Callable[[Subject], str]) -> Extract:
    def extract(subject: Subject, _: Usage | None) -> Value:
        return get(subject) or Missing.UNSUPPORTED

    return extract


def _addresses(subject: Subject) -> str:
    return " ".join(subject.addresses) if isinstance(subject, Container) else ""


def _text_field(
    id: str, title: str, about: str, extract: Extract, *, width: int, max_width: int, rank: int, default: bool = True
) -> Field:
    return Field(
        id,
        title,
        "",
        about,
        width,
        extract,
        show=fmt.clean,
        rank=rank,
        align="left",
        max_width=max_width,
        default=default,
        falling=False,
    )


_NAME, _IMAGE, _ENGINE = _text(lambda c: c.name or c.ref.short), _text(description), _text(runner)
_GROUP, _ID, _ADDRESSES = _text(_group_name), _text(lambda c: c.ref.short), _text(_addresses)

_BEFORE: Final = (
    _text_field(
        "state", "state", "Where it is in its life, with its exit status", _state, width=12, max_width=30, rank=1
    ),
    _text_field("name", "name", "Its name", _NAME, width=16, max_width=40, rank=0),
    _text_field("image", "image", "What it was created from", _IMAGE, width=12, max_width=40, rank=15),
    _text_field("engine", "engine", "Who runs it", _ENGINE, width=8, max_width=12, rank=12),
    _text_field("group", "group", "Its compose project or pod", _GROUP, width=8, max_width=20, rank=21, default=False),
    _text_field("id", "id", "The beginning of its id", _ID, width=12, max_width=12, rank=22, default=False),
    _text_field("addresses", "address", "Its network addresses", _ADDRESSES, width=12, max_width=32, rank=19),
)
_AFTER: Final = (
    Field(
        "up", "since", "seconds", "For how long it runs, or is stopped", 5, _up, show=fmt.age, rank=14, falling=False
    ),
    Field(
        "restarts",
        "rstrt",
        "",
        "How often its restart policy has started it again",
        5,
        _restarts,
        show=fmt.count,
        rank=29,
        default=False,
    ),
)
LAST_RANK: Final = 30  # of metrics without an entry in `_COLUMNS`


@dataclass(frozen=True, slots=True)
class _Column:
    """How a metric's column differs from what its unit gives; the attributes are those of `Field`."""

    title: str
    width: int
    rank: int
    default: bool = True


_COLUMNS: Final[Mapping[str, _Column]] = {
    "cpu": _Column("cpu", 5, 2),
    "cpu_limit": _Column("limit", 6, 4),
    "cpu_share": _Column("cpu%", 5, 16),
    "throttled_share": _Column("thrtl", 5, 6),
    "throttled": _Column("held", 5, 23, default=False),
    "waiting": _Column("wait", 4, 9),
    "memory": _Column("mem", 5, 3),
    "memory_limit": _Column("limit", 6, 5),
    "memory_share": _Column("mem%", 5, 17),
    "working_set": _Column("wset", 5, 24, default=False),
    "anon": _Column("anon", 5, 25, default=False),
    "file": _Column("file", 5, 26, default=False),
    "shared": _Column("shm", 5, 26, default=False),
    "swap": _Column("swap", 5, 20, default=False),
    "memory_peak": _Column("peak", 5, 27, default=False),
    "oom_kills": _Column("oom", 4, 18),
    "net_rx": _Column("net in", 6, 10),
    "net_tx": _Column("out", 5, 10),
    "io_read": _Column("read", 5, 11),
    "io_write": _Column("write", 5, 11),
    "pids": _Column("pids", 5, 8),
    "pids_limit": _Column("limit", 6, 18),
    "pressure": _Column("psi", 4, 7),
    "pressure_cpu": _Column("psi cpu", 7, 28, default=False),
    "pressure_memory": _Column("psi mem", 7, 28, default=False),
    "pressure_io": _Column("psi io", 6, 28, default=False),
}


def of_metric(metric: Metric[Usage]) -> Field:
    """The field of a metric; one that is not in `_COLUMNS` is named after its id and hidden until it is chosen."""
    unit, title = UNITS[metric.unit], metric.id.replace("_", " ")
    column = _COLUMNS.get(metric.id) or _Column(title, max(unit.width, len(title)), LAST_RANK, default=False)

    def extract(_: Subject, usage: Usage | None) -> Value:
        return Missing.NOT_SAMPLED if usage is None else metric.extract(usage)

    return Field(
        id=metric.id,
        title=column.title,
        unit=metric.unit.value,
        about=metric.about,
        width=column.width,
        extract=extract,
        show=unit.show,
        rank=column.rank,
        default=column.default,
        grain=unit.grain,
    )


FIELDS: Final[Mapping[str, Field]] = {
    field.id: field for field in (*_BEFORE, *(of_metric(metric) for metric in METRICS.values()), *_AFTER)
}
