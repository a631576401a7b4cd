"""Everything about one container: graphs, logs, processes, isolation."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import ContentSwitcher

from runtime.model import Container, ContainerKind, GroupRef, Ref, State
from tui.app import keymap
from tui.app.screens.panes.isolation import IsolationPane
from tui.app.screens.panes.logs import Logs
from tui.app.screens.panes.members import Members
from tui.app.screens.panes.overview import Overview
from tui.app.screens.panes.pane import Pane
from tui.app.screens.panes.processes import Processes
from tui.app.services import services
from tui.app.widgets.lines import Lines
from tui.app.widgets.tabbar import TabBar
from tui.core.actions import ACTIONS
from tui.core.drift.detector import Drift
from tui.core.permissions import NO_CGROUP
from tui.core.session import Changed, Session, Subject
from tui.present import fields, limit_text
from tui.present import format as fmt

PANES: dict[str, type[Pane]] = {
    "overview": Overview,
    "logs": Logs,
    "processes": Processes,
    "isolation": IsolationPane,
}
GROUP_PANES: dict[str, type[Pane]] = {"overview": Overview, "members": Members}
FOOT = ("limits", "stop", "start", "pause", "help")
DRIFT_LINES = 2
LOW = 14  # on fewer lines the head is one line


class DetailScreen(Screen[None]):
    """One container; number keys and arrows change the page, and what can be done in the list can be done here."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *keymap.page_bindings(),
        Binding("o", "tab(1)", "Logs", show=False, id="logs"),
    ]

    def __init__(self, session: Session, ref: Ref, tab: str = "overview") -> None:
        super().__init__()
        self.ref = ref
        self._session = session
        self._kinds = GROUP_PANES if isinstance(ref, GroupRef) else PANES
        self._index = list(self._kinds).index(tab)
        self._known: Subject | None = session.find(ref)
        self._panes: dict[str, Pane] = {}
        self._first, self._second, self._last = (
            Lines(id="detail-head"),
            Lines(id="detail-more"),
            Lines(id="detail-foot"),
        )

    def compose(self) -> ComposeResult:
        """Head, tabs, the pages on top of each other, foot."""
        app = services(self)
        for name, kind in self._kinds.items():
            pane = kind(self._session, self.ref, app.glyphs, ascii_only=app.ascii_only, id=f"pane-{name}")
            self._panes[name] = pane
        yield self._first
        yield self._second
        yield TabBar(list(self._kinds))
        with ContentSwitcher(initial=f"pane-{list(self._kinds)[self._index]}", id="panes"):
            yield from self._panes.values()
        yield self._last

    def on_mount(self) -> None:
        """Follow the session."""
        self._unsubscribe = self._session.subscribe(self._changed)
        self.query_one(TabBar).mark(self._index)
        self.call_after_refresh(self.pane.awake)

    def on_unmount(self) -> None:
        self._unsubscribe()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def on_screen_resume(self) -> None:
        """Catch up with what happened behind a dialog."""
        self._draw()

    @property
    def pane(self) -> Pane:
        """The page in front."""
        return self._panes[list(self._kinds)[self._index]]

    def _changed(self, what: Changed) -> None:
        if not all(pane.is_mounted for pane in self._panes.values()):
            return  # the first look comes when they are
        subject = self._session.find(self.ref)
        if subject is not None:
            self._known = subject
        if Changed.INVENTORY in what:
            for pane in self._panes.values():
                pane.inventory_changed()
        if Changed.FRAME in what:
            self.pane.frame_changed()
        self._draw()

    def _draw(self) -> None:
        low = self.size.height < LOW
        gone = self._session.find(self.ref) is None
        self._first.show([f"{self.ref.short}: it is gone" if self._known is None else self._head(self._known, gone)])
        self._second.display = not low
        if self._known is not None:
            drifts = self._session.drift.get(self.ref, ())
            self._second.show(self._drift_lines(drifts) if drifts else [_more(self._known)])
            self._second.set_class(bool(drifts), "-drifted")
        self._last.show([self._foot()])

    def _head(self, subject: Subject, gone: bool) -> str:
        app = services(self)
        dot = f" {app.glyphs.dot} "
        sign = app.glyphs.states[State.UNKNOWN if gone else subject.state]
        container = subject if isinstance(subject, Container) else None
        parts = [fmt.clean(subject.name or subject.ref.short), "gone" if gone else subject.state.value]
        if container is not None and container.health and container.state.live:
            parts.append(fmt.clean(container.health))
        since = fields.FIELDS["up"].extract(subject, None)
        if isinstance(since, float):
            parts.append(f"up {fmt.age(since)}" if subject.state.live else f"{fmt.age(since)} ago")
        if container is not None and container.exit_code is not None and not container.state.live:
            parts.append(ending(container))
        if container is not None and container.kind is not ContainerKind.CONTAINER:
            kinds = {ContainerKind.VM: "virtual machine", ContainerKind.SERVICE: "systemd service"}
            parts.append(kinds[container.kind])
        parts += [fmt.clean(text)] if (text := fields.description(subject)) else []
        found = container.found if container is not None else ""
        parts += [f"found by {fmt.clean(found)}" if found else fields.runner(subject)]
        return f"{sign} " + dot.join(parts)

    def _drift_lines(self, drifts: Sequence[Drift]) -> list[str]:
        """What somebody else has changed, and when it was noticed; on two lines at most."""
        width = max(1, self.size.width - 2)
        clock = time.strftime("%H:%M:%S", time.localtime(min(each.since_ns for each in drifts) / 1e9))
        told = "; ".join(limit_text.drift_text(each) for each in drifts)
        key = keymap.shown("limits", services(self).keymap)[0]
        text = fmt.clean(f"{clock} changed by somebody else ({key}: set again or accept): {told}")
        lines = textwrap.wrap(text, width)
        more = services(self).glyphs.more
        return (
            lines
            if len(lines) <= DRIFT_LINES
            else [*lines[: DRIFT_LINES - 1], fmt.fit(" ".join(lines[DRIFT_LINES - 1 :]), width, more=more)]
        )

    def _foot(self) -> str:
        """The keys that make sense now, as many as fit."""
        app = services(self)
        parts = [f"{keymap.shown('back', app.keymap)[0]} back", f"1-{len(self._kinds)} page"]
        parts += [f"{keymap.shown(id, app.keymap)[0]} {word}" for id, word in self.pane.KEYS.items()]
        for id in FOOT:
            action = ACTIONS[id]
            if action.why_not(self._session, self.ref) is None:
                parts.append(f"{keymap.shown(id, app.keymap)[0]} {action.foot}")
        text = ""
        for part in parts:
            if len(text) + len(part) + 2 > self.size.width - 2:
                break
            text += ("  " if text else "") + part
        return text

    # what the keys do

    def action_tab(self, index: int) -> None:
        """To a page."""
        if index != self._index and index < len(self._kinds):
            self.pane.asleep()
            self._index = index
            self.query_one(ContentSwitcher).current = f"pane-{list(self._kinds)[index]}"
            self.query_one(TabBar).mark(index)
            self.set_focus(None)
            self.call_after_refresh(self.pane.awake)
            self._draw()

    def action_turn(self, step: int) -> None:
        """To the page beside."""
        self.action_tab((self._index + step) % len(self._kinds))

    @on(TabBar.Chosen)
    def _chosen(self, event: TabBar.Chosen) -> None:
        self.action_tab(event.index)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A group has no log to search."""
        return action != "search" or "logs" in self._kinds

    def action_search(self) -> None:
        """Search the log, from every page."""
        self.action_tab(list(self._kinds).index("logs"))
        pane = self._panes["logs"]
        assert isinstance(pane, Logs)
        pane.search()

    def action_look_again(self) -> None:
        """The newest, of the engine and of this page."""
        self.pane.look_again()
        services(self).action_refresh()

    def action_back(self) -> None:
        """Close the search if it is open, else the screen."""
        logs = self._panes.get("logs")
        if not (isinstance(logs, Logs) and logs.leave_search()):
            self.dismiss()


def ending(container: Container) -> str:
    """How it ended: "exit status 1", "killed by signal 9", "out of memory"."""
    code = container.exit_code or 0
    words = f"killed by signal {code - 128}" if 128 < code < 128 + 65 else f"exit status {code}"
    return f"out of memory, {words}" if container.oom_killed else words


def _more(subject: Subject) -> str:
    if not isinstance(subject, Container):
        return fmt.clean(f"cgroup {subject.cgroup}" if subject.cgroup else NO_CGROUP)
    container = subject
    parts = [f"id {container.ref.short}"]
    if container.pid is not None:
        parts.append(f"pid {container.pid}")
    if container.addresses:
        parts.append(" ".join(container.addresses))
    parts += [f"{p.host}>{p.container}/{p.protocol}" for p in container.ports if p.host is not None]
    if container.started_ns:
        parts.append(f"started {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(container.started_ns / 1e9))}")
    if container.error:
        parts.append(container.error)
    parts.append(" ".join(container.command))
    return fmt.clean("  ".join(parts))
