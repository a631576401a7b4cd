"""The glyphs of the list: a Unicode set and an ASCII set.

Every state has a glyph of its own, so that colour is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.model import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """Glyphs of one cell each.

    Attributes:
        gap: a value that is missing.
        more: the end of text that was cut.
        cursor: before the selected row.
        rising, falling: the sort direction.
        dot: separates the parts of a line.
        trend: from no usage to the limit.
        open, folded: before the name of an unfolded and of a folded group.
        branch: before the name of a group's member.
        hurts, hurt: before the name of one that hurts others, and of one that is hurt by others.
        states: by state.
    """

    gap: str
    more: str
    cursor: str
    rising: str
    falling: str
    dot: str
    trend: str
    open: str
    folded: str
    branch: str
    hurts: str
    hurt: str
    states: Mapping[State, str]


def _states(signs: str) -> Mapping[State, str]:
    return dict(zip(State, signs, strict=True))


# created running paused restarting stopping removing exited dead unknown
UNICODE = Glyphs(
    gap="–",
    more="…",
    cursor="▌",
    rising="▲",
    falling="▼",
    dot="·",
    trend="▁▂▃▄▅▆▇█",
    open="▾",
    folded="▸",
    branch="└",
    hurts="»",
    hurt="«",
    states=_states("◌●◫↻▽✕○✖?"),
)
ASCII = Glyphs(
    gap="-",
    more="~",
    cursor=">",
    rising="^",
    falling="v",
    dot="|",
    trend="_.:-=+*#",
    open="-",
    folded="+",
    branch="`",
    hurts=">",
    hurt="<",
    states=_states("+*=@vxoX?"),
)


def trend(values: Sequence[float | None], scale: float, width: int, glyphs: Glyphs) -> str:
    """The last `width` values against a fixed scale, the newest on the right; a gap is a space."""
    steps = len(glyphs.trend)
    cells = [
        " " if value is None else glyphs.trend[min(steps - 1, max(0, int(value / scale * steps)))]
        for value in values[-width:]
    ]
    return "".join(cells).rjust(width)
