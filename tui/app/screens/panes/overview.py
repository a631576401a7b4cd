"""The overview page: graphs of a container's usage over one time axis."""

from __future__ import annotations

import os
import time

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container as Box
from textual.containers import Vertical, VerticalScroll

from runtime.errors import PytopError
from runtime.limits.controllers.network import Shaping
from runtime.model import Missing, Ref
from tui.app.screens.panes.pane import Pane
from tui.app.widgets.cells import Cells
from tui.app.widgets.graph import Graph, TimeAxis, annotation_sign, body_width
from tui.core.session import Session
from tui.present import braille
from tui.present import format as fmt
from tui.present.annotation_text import annotation_text
from tui.present.glyphs import Glyphs
from tui.present.messages import Message, say
from tui.present.plots import CPU, MEMORY, SMALL, Plots, Shaped, shaped
from tui.present.timeline import window

TWO_COLUMNS_CELLS = 140  # from this width on the graphs are in two columns
MIN_CPU_LINES, MIN_MEMORY_LINES = 5, 4


class Overview(Pane):
    """CPU and memory with their limits, network, disk and pressure."""

    def __init__(self, session: Session, ref: Ref, glyphs: Glyphs, *, ascii_only: bool, id: str) -> None:
        super().__init__(session, ref, glyphs, ascii_only=ascii_only, id=id)
        self._charset = braille.charset(ascii_only, os.environ.get("TERM", ""))
        cs = self._charset
        used = cs.glyph(cs.steps, cs.steps)
        legend = f"  {say(Message.CPU_LEGEND, used=used, throttled=cs.throttled, limit=cs.limit)}"
        self._cpu = Graph(CPU.title, CPU.name, cs, legend=legend, id=CPU.id)
        self._memory = Graph(
            MEMORY.title, MEMORY.name, cs, legend=f"  {say(Message.MEMORY_LEGEND, limit=cs.limit)}", id=MEMORY.id
        )
        self._small = {m.id: Graph(m.title, m.name, cs, id=m.id) for m in SMALL}
        self._axes = (TimeAxis(cs, id="axis-left"), TimeAxis(cs, id="axis-right"))
        self._annotations = Cells(id="annotations")
        self._reading = False
        self._shaped: dict[str, Shaped] = {}
        self._last_shaping: tuple[Shaping, float] | None = None

    def compose(self) -> ComposeResult:
        """Large graphs at the left or above, small ones at the right or below."""
        with VerticalScroll(id="graphs"), Box(id="graph-columns"):
            with Vertical(id="graphs-large"):
                yield self._cpu
                yield self._memory
                yield self._axes[0]
                yield self._annotations
            with Vertical(id="graphs-small"):
                yield from self._small.values()
                yield self._axes[1]

    def follow(self, ref: Ref) -> None:
        """Its queues are others."""
        super().follow(ref)
        self._last_shaping, self._shaped = None, {}

    def activate(self) -> None:
        """Draw the current state."""
        self.draw()

    def frame_changed(self) -> None:
        """Draw the new sample."""
        self.draw()
        container = self.container
        if container is not None and container.pid is not None:
            self._load()

    @work(group="shaping")
    async def _load(self) -> None:
        """Read the queue statistics of its interfaces; one read at a time."""
        if self._reading:
            return
        self._reading = True
        try:
            found = await self.session.shaping(self.ref)
        except PytopError:
            found = Missing.GONE
        finally:
            self._reading = False
        previous, self._last_shaping = self._last_shaping, None
        self._shaped = {}
        if isinstance(found, Missing):
            return
        now = time.monotonic()
        old, seconds = (previous[0], now - previous[1]) if previous is not None else (None, 0.0)
        self._last_shaping = (found, now)
        for metric, way in (("net_tx", "egress"), ("net_rx", "ingress")):
            limit = shaped(getattr(found, way), getattr(old, way, None), seconds)
            if limit is not None:
                self._shaped[metric] = limit

    def on_resize(self) -> None:
        """Give every graph a height: all large if they fit, else CPU and memory large and the rest small."""
        width, height = self.size
        two = width >= TWO_COLUMNS_CELLS
        self.set_class(two, "-two")
        small = list(self._small.values())
        if two:
            rest = max(MIN_CPU_LINES + MIN_MEMORY_LINES, height - 2)
            each, more = divmod(max(len(small), height - 1), len(small))
            heights = [each + (at < more) for at in range(len(small))]
            memory = max(MIN_MEMORY_LINES, rest * 2 // 5)
            cpu = rest - memory
        else:
            rest = max(MIN_CPU_LINES + MIN_MEMORY_LINES, height - 2 - len(small))
            spare = max(0, rest - 20) // len(small) * len(small)
            heights = [1 + spare // len(small)] * len(small)
            rest -= spare
            memory = max(MIN_MEMORY_LINES, rest * 2 // 5)
            cpu = rest - memory
        self._cpu.styles.height, self._memory.styles.height = cpu, memory
        for graph, rows in zip(small, heights, strict=True):
            graph.styles.height = rows
        self.call_after_refresh(self.draw)

    @on(Graph.Resized)
    def _resized(self, event: Graph.Resized) -> None:
        event.stop()
        self.call_after_refresh(self.draw)

    def draw(self) -> None:
        """Update every graph."""
        frame = self.session.frame
        width = self._cpu.size.width
        if frame is None or not width:
            return
        step = max(1, round(self.session.interval * 1e9))
        shown = window(frame.at_ns, step, body_width(width))
        plots = Plots(self.session.history, self.ref, frame, shown, self.session.interval, self._shaped)
        self._cpu.plot(plots.cpu())
        self._memory.plot(plots.memory())
        for measure in SMALL:
            self._small[measure.id].plot(plots.small(measure))
        annotations = self.session.history.annotations(self.ref)
        clock = self.session.history.clock.stretches(shown.start_ns, shown.end_ns)
        for axis in self._axes:
            axis.draw(shown, clock, annotations)
        texts = []
        for each in annotations[-5:]:
            at = time.strftime("%H:%M:%S", time.localtime(each.wall_ns / 1e9))
            texts.append(f"{annotation_sign(each, self._charset)} {at} {fmt.clean(annotation_text(each))}")
        line = fmt.fit(" " + "  ".join(reversed(texts)), width, more=self.glyphs.more) if texts else " " * width
        self._annotations.show([(("", line),)])
