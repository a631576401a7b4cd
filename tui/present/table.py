"""The lines of the table: the columns that fit, and the text and style of each row. Pure functions.

A row is one text in one colour, so that few bytes are sent to the terminal and unchanged rows are not drawn again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from enum import Enum
from itertools import pairwise
from typing import Any, Final

from collectors.history.rings import History
from collectors.sampling.frame import Usage
from runtime.model import Container, ContainerKind, Missing, Ref, State, Unlimited
from tui.core.subject import Subject
from tui.present import format as fmt
from tui.present.cells import cell_len
from tui.present.fields import FIELDS, Field, Value
from tui.present.glyphs import Glyphs, trend
from tui.present.state_text import is_restart_loop

TREND: Final = "trend"
DEFAULT_COLUMNS: Final = (
    *("state", "name", "image", "engine", "cpu", "cpu_limit", "cpu_share", TREND, "throttled_share", "waiting"),
    *("memory", "memory_limit", "memory_share", "oom_kills", "net_rx", "net_tx", "io_read", "io_write"),
    *("pids", "pids_limit", "pressure", "up", "addresses"),
)
COLUMN_IDS: Final = frozenset({*FIELDS, TREND})
_JOINED = frozenset({"cpu_limit", "memory_limit", "pids_limit"})
_OF_SUBJECT: Final = frozenset({"state", "name"})  # drawn by more than their value
MAX_KEPT_CELLS: Final = 256  # formatted values of one column
_NARROW_CELLS = 72  # below this width `_NARROW_WIDTHS` are used
_NARROW_WIDTHS = {"state": 1, "name": 10}
_TREND_CELLS, _TREND_MAX_CELLS, _TREND_RANK = 8, 20, 5.5
_CURSOR_CELLS = 1  # before each row, for the cursor
KIND_PREFIXES: Final = {
    ContainerKind.VM: "vm:",
    ContainerKind.SERVICE: "svc:",
}  # before the names of what is no container
DRIFTED: Final = "!"  # before the name of one whose limits somebody else has changed
MIN_REASON_CELLS: Final = 16  # of gaps in a row, from which on the reason is written over them
THROTTLED_SHARE = 0.25  # of its periods
CRITICAL_MEMORY_SHARE = 0.95  # of its memory limit, without the cache that can go


class RowStyle(Enum):
    """The style of a row; the value names the table's component class."""

    NORMAL = "row"
    THROTTLED = "throttled"
    CRITICAL = "critical"
    PAUSED = "paused"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `field` is None for the trend. `gap` cells are before it, `cells` keeps what was formatted."""

    id: str
    width: int
    gap: int
    field: Field | None
    cells: dict[object, str] = dataclass_field(default_factory=dict, compare=False, repr=False)

    @property
    def right(self) -> bool:
        return self.field is not None and self.field.align == "right" and not self.joined

    @property
    def title(self) -> str:
        if self.field is None:
            return "trend"
        return f"/{self.field.title}" if self.joined else self.field.title

    @property
    def joined(self) -> bool:
        """A limit, which follows the usage without a gap: "0.50/2.00"."""
        return self.id in _JOINED


class Row:
    """One container or group as it is drawn. Most rows are never seen, so text and style are made when first asked."""

    __slots__ = ("_made", "_make", "ref")

    def __init__(self, ref: Ref, make: Callable[[], tuple[str, RowStyle]]) -> None:
        """`make` gives text and style."""
        self.ref = ref
        self._make = make
        self._made: tuple[str, RowStyle] | None = None

    @property
    def text(self) -> str:
        return self._drawn()[0]

    @property
    def style(self) -> RowStyle:
        return self._drawn()[1]

    def _drawn(self) -> tuple[str, RowStyle]:
        if self._made is None:
            self._made = self._make()
        return self._made


class Layout:
    """The columns of a list, which are laid out anew only when its width or what it lists has changed."""

    def __init__(self, wanted: Sequence[str]) -> None:
        """`wanted` are ids of columns."""
        self._wanted = wanted
        self._width = -1
        self._listed: tuple[Mapping[Any, Subject], ...] = ()
        self._columns: tuple[Column, ...] = ()

    def fit(self, width: int, *listed: Mapping[Any, Subject]) -> tuple[Column, ...]:
        """The columns in `width` cells for what is listed: mappings that are replaced, never mutated."""
        same = len(listed) == len(self._listed) and all(map(operator.is_, listed, self._listed))
        if width != self._width or not same:
            self._width, self._listed = width, listed
            self._columns = columns(width, self._wanted, [each for part in listed for each in part.values()])
        return self._columns


def columns(width: int, wanted: Sequence[str], subjects: Collection[Subject]) -> tuple[Column, ...]:
    """The wanted columns that fit in `width` cells, chosen by rank; the remaining cells widen some of them."""
    narrow = width < _NARROW_CELLS
    least = {id: (_NARROW_WIDTHS.get(id) if narrow else None) or _width(id) for id in wanted}
    widths: dict[str, int] = {}
    left = 0
    for id in sorted(wanted, key=_rank):
        tried = {i: least[i] for i in wanted if i in widths or i == id}
        rest = width - _CURSOR_CELLS - sum(tried.values()) - sum(map(_gap, list(tried)[1:]))
        if rest >= 0 or not widths:
            widths, left = tried, max(0, rest)
    for id in ("state", "name", "image", "addresses", "group", "engine", TREND):
        if id in widths and not (id == "state" and narrow):  # in a narrow table the state is its sign alone
            more = min(left, max(0, _max_width(id, subjects) - widths[id]))
            widths[id] += more
            left -= more
    first = next(iter(widths), "")
    return tuple(Column(id, w, 0 if id == first else _gap(id), FIELDS.get(id)) for id, w in widths.items())


def head(layout: Sequence[Column], sort: str, falling: bool, glyphs: Glyphs) -> str:
    """The line of titles, with an arrow at the column that the rows are sorted by."""
    arrow = glyphs.falling if falling else glyphs.rising
    parts = [" " * _CURSOR_CELLS]
    over = ""
    for column, after in pairwise([*layout, None]):
        assert column is not None
        title, gap = column.title, over or " " * column.gap
        over = ""
        if column.id == sort and len(title) == column.width and after is not None and after.gap:
            over = arrow + " " * (after.gap - 1)  # the title fills its column, so the arrow goes into the gap
        elif column.id == sort:
            title = title[: max(0, column.width - 1)] + arrow
        parts.append(gap + fmt.fit(title, column.width, right=column.right, more=""))
    return "".join(parts)


def row(
    subject: Subject,
    usage: Usage | None,
    layout: Sequence[Column],
    history: History,
    glyphs: Glyphs,
    lead: str = "",
    *,
    why: str = "",
) -> Row:
    """The row of a container or group, without the cursor.

    `lead` is put before its name, `why` it is not measured over the longest run of gaps.
    """

    def make() -> tuple[str, RowStyle]:
        parts, measured = [], []
        for column in layout:
            if column.field is None:
                text = _trend(subject.ref, usage, column.width, history, glyphs)
            else:
                text = _cell(column, column.field, subject, usage, glyphs, lead)
            parts.append(" " * column.gap + text)
            measured.append(bool(text.strip(f"{glyphs.gap}/ ")))
        if why:
            parts = _explained(parts, measured, why, glyphs)
        return "".join(parts), row_style(subject, usage)

    return Row(subject.ref, make)


def _explained(parts: Sequence[str], measured: Sequence[bool], why: str, glyphs: Glyphs) -> list[str]:
    """The cells with a sentence over the longest run of those without a value, where it has room."""
    best, start = range(0), 0
    for end in (*(at for at, known in enumerate(measured) if known), len(parts)):
        if sum(cell_len(parts[at]) for at in range(start, end)) > sum(cell_len(parts[at]) for at in best):
            best = range(start, end)
        start = end + 1
    width = sum(cell_len(parts[at]) for at in best)
    if width < MIN_REASON_CELLS:
        return list(parts)
    text = " " + fmt.fit(why, width - 1, more=glyphs.more)
    return [*parts[: best.start], text, *parts[best.stop :]]


def tree(
    groups: Mapping[Ref, Sequence[Subject]], tops: Sequence[Subject], folded: Collection[Ref]
) -> Iterator[tuple[Subject, bool]]:
    """Every row, with whether it is a member of a group; `groups` has the members of each group in order."""
    for top in tops:
        yield top, False
        if top.ref not in folded:
            for member in groups.get(top.ref, ()):
                yield member, True


def row_style(subject: Subject, usage: Usage | None) -> RowStyle:
    """The style of a row by state and usage."""
    if subject.state is State.UNKNOWN:
        return RowStyle.UNKNOWN
    if is_restart_loop(subject):
        return RowStyle.CRITICAL
    if not subject.state.live:
        return RowStyle.STOPPED
    if subject.state is State.PAUSED:
        return RowStyle.PAUSED
    if usage is None:
        return RowStyle.NORMAL
    full, limit = usage.working_set, usage.memory_limit
    if isinstance(full, int) and isinstance(limit, int) and full >= CRITICAL_MEMORY_SHARE * limit:
        return RowStyle.CRITICAL
    if not isinstance(usage.throttled_share, Missing) and usage.throttled_share >= THROTTLED_SHARE:
        return RowStyle.THROTTLED
    return RowStyle.NORMAL


def at(layout: Sequence[Column], x: int) -> str | None:
    """The id of the column that is drawn at cell `x`."""
    end = _CURSOR_CELLS
    for column in layout:
        end += column.gap + column.width
        if x < end:
            return column.id
    return None


def _cell(column: Column, field: Field, subject: Subject, usage: Usage | None, glyphs: Glyphs, lead: str) -> str:
    value = field.extract(subject, usage)
    if field.id in _OF_SUBJECT:
        return _format(column, field, value, subject, glyphs, lead)
    key = (value, glyphs.more)
    text = column.cells.get(key)
    if text is None:
        if len(column.cells) >= MAX_KEPT_CELLS:
            column.cells.clear()
        text = column.cells[key] = _format(column, field, value, subject, glyphs, lead)
    return text


def _format(column: Column, field: Field, value: Value, subject: Subject, glyphs: Glyphs, lead: str) -> str:
    text = glyphs.gap if isinstance(value, Missing) else field.format(value)
    if field.id == "state":
        sign = glyphs.states[State.RESTARTING if is_restart_loop(subject) else subject.state]
        text = sign if column.width < _width("state") else f"{sign} {text}"
    elif field.id == "name":
        text = lead + _kind_prefix(subject) + text
    elif column.joined:
        text = f"/{text}"
    return fmt.fit(text, column.width, right=column.right, more=glyphs.more)


def _kind_prefix(subject: Subject) -> str:
    return KIND_PREFIXES.get(subject.kind, "") if isinstance(subject, Container) else ""


def _trend(ref: Ref, usage: Usage | None, width: int, history: History, glyphs: Glyphs) -> str:
    """CPU of the last sweeps against the limit, or against the whole machine without one."""
    if usage is None:
        return " " * width
    limit = usage.cpu_limit
    if isinstance(limit, Missing | Unlimited):
        limit = history.latest.host.ncpu if history.latest is not None else 1
    return trend(history.series(ref, "cpu", last=width).values, limit, width, glyphs)


def _rank(id: str) -> float:
    return _TREND_RANK if id == TREND else FIELDS[id].rank


def _width(id: str) -> int:
    return _TREND_CELLS if id == TREND else FIELDS[id].width


def _gap(id: str) -> int:
    return 0 if id in _JOINED else 1


def _max_width(id: str, subjects: Collection[Subject]) -> int:
    """The width that a column can use: that of its longest text, up to `max_width`."""
    if id == TREND:
        return _TREND_MAX_CELLS
    field = FIELDS[id]
    sign = 2 if id == "state" else 0
    longest = max((cell_len(field.format(field.extract(c, None))) for c in subjects), default=0)
    return min(field.max_width, longest + sign)
