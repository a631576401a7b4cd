"""The victim's latency over the last minutes as lines of text: p50 filled, the p99 above it as another glyph."""

from __future__ import annotations

from collections import deque
from typing import Final

from rich.text import Text

from tui.demo.story import Service
from tui.present import braille
from tui.present.braille import Charset, Ink
from tui.present.messages import Message, say
from tui.present.timeline import top

GUTTER_CELLS: Final = 9
LEGEND_CELLS: Final = 16
MIN_TOP_MS: Final = 20.0
MAX_POINTS: Final = 800  # one per report
STYLES: Final = {Ink.USE: "", Ink.THROTTLED: "bold", Ink.LIMIT: "dim"}


class LatencyGraph:
    """Keeps p50 and p99 of each report; a report in which nothing was answered is a gap."""

    def __init__(self, charset: Charset) -> None:
        self._charset = charset
        self._points: deque[Service | None] = deque(maxlen=MAX_POINTS)

    def add(self, now: Service | None) -> None:
        """One report."""
        self._points.append(now)

    def draw(self, width: int, height: int, *, alone: Service | None, named_s: float | None) -> Text:
        """So many lines of that width. `named_s`: how long the attribution took to name the hog.

        The scale goes to the highest that is seen; the newest is at the right edge.
        """
        cells = max(1, width - GUTTER_CELLS - LEGEND_CELLS)
        seen = list(self._points)[-2 * cells :]
        high = top(max((each.p99 for each in seen if each is not None), default=0.0), limit=None, floor=MIN_TOP_MS)
        missing: list[float | None] = [None] * (2 * cells - len(seen))
        p50 = missing + [None if each is None else each.p50 / high for each in seen]
        above = missing + [None if each is None else (each.p99 - each.p50) / high for each in seen]
        rows = braille.draw(p50, height, self._charset, held=above)
        labels = {0: say(Message.MILLISECONDS, value=high), height - 1: "0"}
        legend = {0: say(Message.GRAPH_P99, sign=self._charset.throttled), 1: say(Message.GRAPH_P50)}
        if alone is not None:
            legend[2] = say(Message.GRAPH_ALONE, value=alone.p99)
        if named_s is not None:
            legend[3] = say(Message.GRAPH_NAMED, seconds=named_s)
        text = Text()
        for number, row in enumerate(rows):
            text.append("\n" if number else "")
            text.append(f"{labels.get(number, ''):>{GUTTER_CELLS - 1}} ")
            for ink, part in braille.inks(row, self._charset):
                text.append(part, STYLES[ink])
            text.append(f"  {legend.get(number, '')}"[:LEGEND_CELLS])
        return text
