"""The third page: what runs inside, the busiest first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.timer import Timer

from collectors.inspection.processes import Process
from runtime.errors import PytopError
from tui.app.screens.panes.pane import Pane
from tui.app.widgets.lines import Lines
from tui.app.widgets.page import Page, Paragraph
from tui.present import format as fmt

EVERY = 2.0
HEADS = f"{'pid':>8}{'inside':>8} {'user':<9}{'s':<2}{'cpu':>6}{'time':>8}{'rss':>7}{'thr':>5}  command"


class Processes(Pane):
    """Looks every two seconds, only while it is shown."""

    KEYS: ClassVar[Mapping[str, str]] = {"look_again": "look again"}
    _timer: Timer | None = None
    _page: Page
    _status: Lines

    def compose(self) -> ComposeResult:
        """Heads, rows, and how many there are."""
        self._page, self._status = Page(wrap=False, id="processes-page"), Lines(id="processes-status")
        yield Lines([HEADS], id="processes-heads")
        yield self._page
        yield self._status

    def awake(self) -> None:
        """Begin to look."""
        self._before: Mapping[int, float] = {}
        self._at = 0.0
        self._page.focus()
        self._timer = self.set_interval(EVERY, self.look_again)
        self.look_again()

    def asleep(self) -> None:
        """Nobody sees it."""
        if self._timer is not None:
            self._timer.stop()

    def look_again(self) -> None:
        """Read anew; a look that is under way is given up."""
        self._look()

    @work(group="processes", exclusive=True)
    async def _look(self) -> None:
        """Read all processes in a thread."""
        try:
            found = await self.session.processes(self.ref)
        except PytopError as error:
            self._page.show([])
            self._status.show([fmt.clean(str(error))])
            return
        now = time.monotonic()
        cores = rates(self._before, found, now - self._at if self._at else 0.0)
        self._before, self._at = {process.pid: process.cpu_time_s for process in found}, now
        self._page.show(rows(found, cores))
        threads = sum(process.threads for process in found)
        self._status.show([f"{len(found)} processes, {threads} threads; cpu in cores over {EVERY:.0f} s"])


def rates(before: Mapping[int, float], now: Sequence[Process], seconds: float) -> dict[int, float]:
    """Cores used by each process since the look before; those that were not there then have no rate."""
    if seconds <= 0:
        return {}
    return {
        process.pid: (process.cpu_time_s - before[process.pid]) / seconds
        for process in now
        if process.pid in before and process.cpu_time_s >= before[process.pid]
    }


def rows(found: Sequence[Process], cores: Mapping[int, float]) -> list[Paragraph]:
    """One line per process; by cores, then by the time used."""
    ordered = sorted(found, key=lambda p: (-round(cores.get(p.pid, 0.0), 2), -p.cpu_time_s, p.pid))
    lines: list[Paragraph] = []
    for p in ordered:
        cpu = fmt.cores(cores[p.pid]) if p.pid in cores else fmt.GAP
        inside = fmt.GAP if p.inner_pid is None else str(p.inner_pid)
        user = fmt.fit(fmt.clean(p.user), 8, more="~")
        text = (
            f"{p.pid:>8}{inside:>8} {user} {p.state:<2}{cpu:>6}{spent(p.cpu_time_s):>8}{fmt.size(p.rss):>7}"
            f"{p.threads:>5}  {fmt.clean(p.command)}"
        )
        lines.append(("warn" if p.state in "DZ" else "text", text))
    return lines


def spent(seconds: float) -> str:
    """CPU time as minutes:seconds, or hours from 100 minutes on: "0:07.5", "12:34", "5h02"."""
    minutes, rest = divmod(seconds, 60)
    if minutes >= 100:
        return f"{minutes // 60:.0f}h{minutes % 60:02.0f}"
    return f"{minutes:.0f}:{int(rest * 10) / 10:04.1f}"
