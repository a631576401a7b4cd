"""A graph over time with a fixed scale, a limit line and figures beside it, and the time axis below."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from textual.message import Message

from collectors.history.annotation import Annotation, AnnotationKind
from collectors.history.wall_clock import ClockStretch
from tui.app.widgets.cells import Cells, Line
from tui.present import braille
from tui.present.braille import Charset, Ink
from tui.present.format import fit
from tui.present.plots import Plot
from tui.present.timeline import Window

GUTTER_CELLS = 9  # left of the graph, for its scale or its name
FIGURE_CELLS = 7  # of one figure
WIDE_CELLS = 60  # from this width on mean and maximum are shown beside the current value
MIN_TITLED_LINES = 4  # from this height on the first line is the title
_COMPONENTS = {Ink.USE: "graph--use", Ink.THROTTLED: "graph--throttled", Ink.LIMIT: "graph--limit"}
_TICK_INTERVALS_S = (5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
_MIN_LABEL_CELLS = 11  # least distance between two labels of the time axis
_HARM = frozenset({AnnotationKind.OOM_KILL, AnnotationKind.ENDED})


def figures_width(width: int) -> int:
    """The cells of the figures for a graph of this width."""
    return 3 * FIGURE_CELLS + 1 if width >= WIDE_CELLS else FIGURE_CELLS + 1


def body_width(width: int) -> int:
    """The cells that are left for the plot."""
    return max(1, width - GUTTER_CELLS - figures_width(width))


class Graph(Cells):
    """One measure of one container over the last minutes."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "graph--use",
        "graph--throttled",
        "graph--limit",
        "graph--title",
        "graph--label",
        "graph--figure",
    }

    class Resized(Message):
        """The size has changed, so a plot of the new size is needed."""

    def __init__(self, title: str, name: str, charset: Charset, *, legend: str = "", id: str) -> None:
        """`title` is used where there is room for a line of its own, `name` of at most eight cells elsewhere."""
        super().__init__(id=id)
        self._title, self._label, self._legend = title, name, legend
        self._charset = charset

    def on_resize(self) -> None:
        """Ask for a plot of the new size."""
        super().on_resize()
        self.post_message(self.Resized())

    def plot(self, plot: Plot) -> None:
        """Draw the plot; only changed cells are sent."""
        width, height = self.size.width, self.size.height
        if width and height:
            self.show(tuple(self._draw(plot, width, height)))

    def _draw(self, plot: Plot, width: int, height: int) -> Iterator[Line]:
        side = figures_width(width)
        titled = height >= MIN_TITLED_LINES
        if titled:
            heads = "now   mean    max" if side > FIGURE_CELLS + 1 else "now"
            room = max(0, width - side)
            title = fit(f" {self._title}", min(room, len(self._title) + 2), more="")
            yield (
                ("graph--title", title),
                ("graph--label", fit(self._legend, room - len(title), more="")),
                ("graph--label", fit(heads, side, right=True, more="")),
            )
        rows = height - titled
        fractions = [None if value is None else value / plot.top for value in plot.values]
        held = [None if value is None else value / plot.top for value in plot.held]
        limit = None if plot.limit is None else plot.limit / plot.top
        drawn = braille.draw(fractions, rows, self._charset, held=held, limit=limit)
        labels = self._scale(plot, rows, limit) if titled else {0: self._label}
        for y, row in enumerate(drawn):
            yield (
                ("graph--label", f"{labels.get(y, ''):<{GUTTER_CELLS}}" if not titled else f"{labels.get(y, ''):>8} "),
                *((_COMPONENTS[ink], text) for ink, text in braille.inks(row, self._charset)),
                self._figures_cell(plot, y, side),
            )

    def _scale(self, plot: Plot, rows: int, limit: float | None) -> dict[int, str]:
        labels = {rows - 1: "0", 0: plot.show(plot.top)}
        if limit is not None and 0 <= limit <= 1 and plot.limit is not None:
            labels[rows - 1 - min(rows - 1, int(limit * rows))] = plot.show(plot.limit)
        return labels

    def _figures_cell(self, plot: Plot, y: int, side: int) -> tuple[str, str]:
        if y == 0 and plot.brief and self.size.height == 1 and side > FIGURE_CELLS + 1:
            return "graph--figure", " " + f"{plot.figures[0]:>{FIGURE_CELLS}}" + f"{plot.brief:>{2 * FIGURE_CELLS}}"
        if y == 0:
            shown = plot.figures if side > FIGURE_CELLS + 1 else plot.figures[:1]
            return "graph--figure", " " + "".join(f"{text:>{FIGURE_CELLS}}" for text in shown)
        if 0 < y <= len(plot.notes) and side > FIGURE_CELLS + 1:
            return "graph--label", fit(f"  {plot.notes[y - 1]}", side, more="")
        return "graph--label", " " * side


class TimeAxis(Cells):
    """The clock times below graphs of the same width, with the signs of annotations."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"axis--line", "axis--change", "axis--harm"}

    def __init__(self, charset: Charset, *, id: str) -> None:
        super().__init__(id=id)
        self._charset = charset

    def draw(self, frame: Window, clock: Sequence[ClockStretch], annotations: Sequence[Annotation]) -> None:
        """`clock` is the wall clock of the window."""
        self.show([tuple(axis(frame, clock, annotations, self._charset))])


def annotation_sign(annotation: Annotation, charset: Charset) -> str:
    """The sign of an annotation: one for OOM kills and ends, another for the rest."""
    return charset.harm_sign if annotation.kind in _HARM else charset.change_sign


def axis(
    frame: Window, clock: Sequence[ClockStretch], annotations: Sequence[Annotation], charset: Charset
) -> Iterator[tuple[str, str]]:
    """The line of the time axis: the clock at round times, annotations on top of it."""
    cells = [charset.axis] * (frame.slots // 2)
    per_cell = 2 * frame.step_ns / 1e9
    every = next((s for s in _TICK_INTERVALS_S if s / per_cell >= _MIN_LABEL_CELLS), _TICK_INTERVALS_S[-1])
    for stretch in clock:
        first, last = ((at + stretch.offset_ns) // 10**9 for at in (stretch.start_ns, stretch.end_ns))
        for second in range(-(-first // every) * every, last + 1, every):
            cell = frame.cell(second * 10**9 - stretch.offset_ns)
            text = charset.tick + time.strftime("%H:%M:%S", time.localtime(second))
            if cell is not None and cell + len(text) <= len(cells):
                cells[cell : cell + len(text)] = text
    yield "axis--line", " " * GUTTER_CELLS
    done = 0
    for at, sign in _placed(frame, annotations, charset):
        if at >= done:
            yield "axis--line", "".join(cells[done:at])
            yield ("axis--harm" if sign == charset.harm_sign else "axis--change"), sign
            done = at + 1
    yield "axis--line", "".join(cells[done:])


def _placed(frame: Window, annotations: Sequence[Annotation], charset: Charset) -> list[tuple[int, str]]:
    """The cells of the annotations from left to right; in one cell, OOM kills and ends hide other signs."""
    found: dict[int, str] = {}
    for annotation in annotations:
        cell = frame.cell(annotation.at_ns)
        if cell is not None and found.get(cell) != charset.harm_sign:
            found[cell] = annotation_sign(annotation, charset)
    return sorted(found.items())
