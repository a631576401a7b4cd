"""The container screen: graphs, logs, processes, isolation."""

from __future__ import annotations

import time
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import ContentSwitcher

from runtime.model import Container, GroupRef, Ref
from tui.app import keymap
from tui.app.screens.panes.isolation import IsolationPane
from tui.app.screens.panes.logs import Logs
from tui.app.screens.panes.members import Members
from tui.app.screens.panes.overview import Overview
from tui.app.screens.panes.pane import Pane
from tui.app.screens.panes.processes import Processes
from tui.app.services import services
from tui.app.why_line import why_lines
from tui.app.widgets.lines import Lines
from tui.app.widgets.tabbar import TabBar
from tui.core.actions import ACTIONS
from tui.core.session import Changed, Session, Subject
from tui.core.successor import successor
from tui.present import container_text, unmeasured_text
from tui.present.messages import Message, say

PANES: dict[str, type[Pane]] = {
    "overview": Overview,
    "logs": Logs,
    "processes": Processes,
    "isolation": IsolationPane,
}
GROUP_PANES: dict[str, type[Pane]] = {"overview": Overview, "members": Members}
FOOT = ("limits", "stop", "start", "pause", "help")
LOW_LINES = 14  # below this height there is one head line


class DetailScreen(Screen[None]):
    """One container or group. Number keys and arrows change the page; the list's actions work here too."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *keymap.page_bindings(),
        Binding("o", "tab(1)", "Logs", show=False, id="logs"),
    ]

    def __init__(self, session: Session, ref: Ref, tab: str = "overview") -> None:
        super().__init__()
        self.ref = ref
        self._session = session
        self._pane_types = GROUP_PANES if isinstance(ref, GroupRef) else PANES
        self._index = list(self._pane_types).index(tab)
        self._known: Subject | None = session.find(ref)
        self._anew = ""  # when it was made anew under its name
        self._panes: dict[str, Pane] = {}
        self._first, self._second, self._last = (
            Lines(id="detail-head"),
            Lines(id="detail-more"),
            Lines(id="detail-foot"),
        )

    def compose(self) -> ComposeResult:
        """Head, tabs, one pane per page, foot."""
        app = services(self)
        for name, kind in self._pane_types.items():
            pane = kind(self._session, self.ref, app.glyphs, ascii_only=app.ascii_only, id=f"pane-{name}")
            self._panes[name] = pane
        yield self._first
        yield self._second
        yield TabBar(list(self._pane_types))
        with ContentSwitcher(initial=f"pane-{list(self._pane_types)[self._index]}", id="panes"):
            yield from self._panes.values()
        yield self._last

    def on_mount(self) -> None:
        """Subscribe to the session."""
        self._unsubscribe = self._session.subscribe(self._changed)
        self.query_one(TabBar).mark(self._index)
        self.call_after_refresh(self.pane.activate)

    def on_unmount(self) -> None:
        self._unsubscribe()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def on_screen_resume(self) -> None:
        """Draw what changed while a dialog was open."""
        self._draw()

    @property
    def pane(self) -> Pane:
        """The page that is shown."""
        return self._panes[list(self._pane_types)[self._index]]

    def _changed(self, what: Changed) -> None:
        if not all(pane.is_mounted for pane in self._panes.values()):
            return  # drawn first when they are mounted
        subject = self._session.find(self.ref)
        if subject is None and isinstance(self._known, Container):
            subject = successor(self._known, self._session.containers.values())
            if subject is not None:
                self._follow(subject)
        if subject is not None:
            self._known = subject
        if Changed.INVENTORY in what:
            for pane in self._panes.values():
                pane.inventory_changed()
        if Changed.FRAME in what:
            self.pane.frame_changed()
        self._draw()

    def _follow(self, anew: Container) -> None:
        """Show the container that was made anew under the same name."""
        made_ns = anew.created_ns or anew.started_ns or time.time_ns()
        self._anew = say(Message.MADE_ANEW, time=time.strftime("%H:%M:%S", time.localtime(made_ns / 1e9)))
        self.ref = anew.ref
        for pane in self._panes.values():
            pane.follow(anew.ref)

    def _draw(self) -> None:
        low = self.size.height < LOW_LINES
        gone = self._session.find(self.ref) is None
        glyphs = services(self).glyphs
        if self._known is None:
            self._first.show([say(Message.IT_IS_GONE, name=self.ref.short)])
        else:
            dot = f" {glyphs.dot} "
            self._first.show(
                [dot.join(filter(None, (container_text.headline(self._known, glyphs, gone=gone), self._anew)))]
            )
        self._second.display = not low
        if self._known is not None:
            drifts = self._session.drift.get(self.ref, ())
            key, width = keymap.format_keys("limits", services(self).keymap)[0], max(1, self.size.width - 2)
            drift_lines = container_text.drift_lines(drifts, key, width, glyphs) if drifts else []
            why = unmeasured_text.why_unmeasured(self._known, self._session.frame)
            hurt = [] if gone else why_lines(services(self), self.ref, width, self.size.height)
            self._second.show([*([why] if why else ()), *(drift_lines or [container_text.details(self._known)]), *hurt])
            self._second.set_class(bool(drifts), "-drifted")
        self._last.show([self._foot()])

    def _foot(self) -> str:
        """The available keys, as many as fit."""
        app = services(self)
        back = say(Message.KEY_BACK, key=keymap.format_keys("back", app.keymap)[0])
        parts = [back, say(Message.KEYS_PAGES, count=len(self._pane_types))]
        parts += [f"{keymap.format_keys(id, app.keymap)[0]} {word}" for id, word in self.pane.KEYS.items()]
        for id in FOOT:
            action = ACTIONS[id]
            if action.why_not(self._session, self.ref) is None:
                parts.append(f"{keymap.format_keys(id, app.keymap)[0]} {action.foot}")
        text = ""
        for part in parts:
            if len(text) + len(part) + 2 > self.size.width - 2:
                break
            text += ("  " if text else "") + part
        return text

    # actions

    def action_tab(self, index: int) -> None:
        """Show the page with this index."""
        if index != self._index and index < len(self._pane_types):
            self.pane.deactivate()
            self._index = index
            self.query_one(ContentSwitcher).current = f"pane-{list(self._pane_types)[index]}"
            self.query_one(TabBar).mark(index)
            self.set_focus(None)
            self.call_after_refresh(self.pane.activate)
            self._draw()

    def action_turn(self, step: int) -> None:
        """Show the next or the previous page."""
        self.action_tab((self._index + step) % len(self._pane_types))

    @on(TabBar.TabChosen)
    def _chosen(self, event: TabBar.TabChosen) -> None:
        self.action_tab(event.index)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A group has no log to search."""
        return action != "search" or "logs" in self._pane_types

    def action_search(self) -> None:
        """Search the log, from every page."""
        self.action_tab(list(self._pane_types).index("logs"))
        pane = self._panes["logs"]
        assert isinstance(pane, Logs)
        pane.search()

    def action_look_again(self) -> None:
        """Refresh the engine's inventory and this page."""
        self.pane.reload()
        services(self).action_refresh()

    def action_back(self) -> None:
        """Close the search field if it is open, else the screen."""
        logs = self._panes.get("logs")
        if not (isinstance(logs, Logs) and logs.leave_search()):
            self.dismiss()
