"""The lesson on the screen: a chapter at a time, live, with a graph; next, back, skip."""

from __future__ import annotations

import asyncio
import os
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.widgets import Static
from textual.worker import Worker

from tui.app.leaving import StdoutDriver
from tui.demo.teach.chapters import CHAPTERS
from tui.demo.teach.lesson import Fact, Lesson, Reading, Remark, Shown
from tui.demo.teach.play import ChapterResult, play_chapter
from tui.present import braille, teach_text
from tui.present import format as fmt
from tui.present.messages import Message, say
from tui.present.timeline import top

GRAPH_LINES = 6
GUTTER_CELLS = 9
MAX_READINGS = 30  # that fill the graph; older ones leave it
CHAPTER_IDS = tuple(CHAPTERS)


class LessonApp(App[int]):
    """Plays the chapter that is chosen; its container is removed when another is, and at the end."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    LessonApp { background: $background; }
    #chapter { padding: 1 2 0 2; text-style: bold; }
    #about { padding: 0 2; }
    #remark { padding: 1 2 0 2; color: $accent; }
    #readings, #facts { padding: 1 2 0 2; text-wrap: nowrap; text-overflow: ellipsis; }
    #lesson-keys { dock: bottom; padding: 0 2; color: $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,escape,ctrl+c", "leave", show=False, priority=True),
        Binding("n,right,enter", "go(1)", show=False),
        Binding("b,left", "go(-1)", show=False),
        Binding("z", "stop", show=False),
    ]

    def __init__(self, lesson: Lesson, *, ascii_only: bool) -> None:
        super().__init__(ansi_color=True)
        self._lesson = lesson
        self._charset = braille.charset(ascii_only, os.environ.get("TERM", ""))
        self._number = 0
        self._result = ChapterResult(CHAPTER_IDS[0])
        self._remark = ""
        self._worker: Worker[None] | None = None
        self._stage_free = asyncio.Lock()  # the container of the chapter before is removed first

    def get_driver_class(self) -> type[Driver]:
        """Draws on the standard output, as the dashboard does."""
        chosen = super().get_driver_class()
        return StdoutDriver if chosen is LinuxDriver else chosen

    def compose(self) -> ComposeResult:
        """Title, text, what happens now, graph, facts, keys."""
        for id in ("chapter", "about", "remark", "readings", "facts", "lesson-keys"):
            yield Static(id=id, markup=False)

    def on_mount(self) -> None:
        """The first chapter."""
        self._begin()

    def on_resize(self) -> None:
        """The graph has another width."""
        self._draw()

    def action_go(self, step: int) -> None:
        """The next chapter, or the one before."""
        if 0 <= self._number + step < len(CHAPTER_IDS):
            self._number += step
            self._begin()

    def action_stop(self) -> None:
        """Skip what this chapter still would show."""
        if self._worker is not None and self._worker.is_running:
            self._worker.cancel()
            self._remark = say(Message.CHAPTER_LEFT)
            self._draw()

    async def action_leave(self) -> None:
        """End: the container of the chapter is removed first."""
        if self._worker is not None and self._worker.is_running:
            self._worker.cancel()
        self.exit(0)

    def _begin(self) -> None:
        if self._worker is not None and self._worker.is_running:
            self._worker.cancel()
        self._result = ChapterResult(CHAPTER_IDS[self._number])
        self._remark = say(Message.CHAPTER_STARTS)
        self._worker = self.run_worker(self._play(self._result), name="chapter")
        self._draw()

    async def _play(self, result: ChapterResult) -> None:
        def show(each: Shown) -> None:
            if isinstance(each, Fact):
                result.facts.append(each)
            elif isinstance(each, Reading):
                result.readings.append(each)
            elif isinstance(each, Remark):
                self._remark = teach_text.REMARKS[each.id]
            if result is self._result:
                self._draw()

        async with self._stage_free:
            played = await play_chapter(self._lesson, result.chapter, show)
        if result is self._result:
            done = say(Message.CHAPTER_DONE)
            self._remark = say(Message.CHAPTER_SKIPPED, reason=played.skipped) if played.skipped else done
            self._draw()

    def _draw(self) -> None:
        words = teach_text.CHAPTERS[self._result.chapter]
        title = say(Message.CHAPTER_OF, number=self._number + 1, count=len(CHAPTER_IDS), title=words.title)
        width = max(40, self.size.width - 4)
        self.query_one("#chapter", Static).update(title)
        self.query_one("#about", Static).update(" ".join(words.about))
        self.query_one("#remark", Static).update(self._remark)
        graph = self.query_one("#readings", Static)
        graph.display = bool(words.graph)
        if words.graph:
            graph.update(self._graph(width, words.graph))
        facts = self.query_one("#facts", Static)
        facts.update("\n".join(self._result.rows(width)) if self._result.facts else "")
        self.query_one("#lesson-keys", Static).update(say(Message.LESSON_KEYS))

    def _graph(self, width: int, title: str) -> Text:
        """The readings so far, the newest at the right edge, with the limit as a line."""
        cells = max(10, width - GUTTER_CELLS)
        each = max(2, 2 * cells // MAX_READINGS)
        seen = self._result.readings[-(2 * cells // each) :]
        limits = [reading.limit for reading in seen if reading.limit is not None]
        limit = limits[-1] if limits else None
        sized = title == teach_text.CHAPTERS["memory"].graph
        high = top(max((reading.value for reading in seen), default=0.0), limit=limit if sized else None, floor=1.0)
        values: list[float | None] = [None] * (2 * cells - each * len(seen))
        for reading in seen:
            values += [reading.value / high] * each
        rows = braille.draw(values, GRAPH_LINES, self._charset, limit=None if limit is None else limit / high)
        show = fmt.size if sized else fmt.cores
        labels = {0: show(high), GRAPH_LINES - 1: "0"}
        lines = [f"{labels.get(number, ''):>{GUTTER_CELLS - 1}} {row}" for number, row in enumerate(rows)]
        return Text("\n".join((f"{'':>{GUTTER_CELLS}}{title}", *lines)))
