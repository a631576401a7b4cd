"""The matrix: victims down, suspects across, the share of time that each victim loses by each suspect; live."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from runtime.model import Ref
from tui.app import keymap
from tui.app.services import services
from tui.app.why_line import name_of, why_lines
from tui.app.widgets.lines import Lines
from tui.app.widgets.table import ContainerTable
from tui.core.actions import ACTIONS
from tui.core.session import Changed, Session
from tui.present.matrix import matrix
from tui.present.messages import Message, say

FOOT = ("climb", "step_back", "confirm", "probe", "limits", "help")
SCROLLBAR_CELLS = 1


class MatrixScreen(Screen[Ref | None]):
    """Follows the frames. The actions on containers act on the victim in whose row the cursor is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,escape,W", "back", "Back", show=False),
        Binding("enter", "open", "Select it in the list", show=False),
    ]

    def __init__(self, session: Session) -> None:
        super().__init__(id="matrix")
        self._session = session

    def compose(self) -> ComposeResult:
        """Title, the suspects' names, one row for each victim, the evidence of the selected one, keys."""
        yield Lines([say(Message.MATRIX)], id="matrix-title")
        yield Lines(id="matrix-heads")
        yield ContainerTable(services(self).glyphs, id="matrix-table")
        yield Lines(id="matrix-why")
        yield Lines(id="matrix-foot")

    def on_mount(self) -> None:
        """Subscribe to the session."""
        self.table.focus()
        self._unsubscribe = self._session.subscribe(self._changed)

    def on_unmount(self) -> None:
        self._unsubscribe()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    @property
    def table(self) -> ContainerTable:
        return self.query_one("#matrix-table", ContainerTable)

    @property
    def ref(self) -> Ref | None:
        """The selected victim."""
        return self.table.selected

    def _changed(self, what: Changed) -> None:
        if what is not Changed.FRAME or not services(self).behind:
            self._draw()

    def _draw(self) -> None:
        if not self.query("#matrix-foot"):
            return  # being unmounted
        app, width = services(self), self.size.width
        found = matrix(self._session.attribution, name_of(self._session), width - SCROLLBAR_CELLS, app.glyphs)
        self.table.show(found.rows)
        more = [say(Message.MATRIX_MORE, count=found.left_out)] if found.left_out else []
        heads = [found.head, *more] if found.rows else ["", say(Message.MATRIX_EMPTY)]
        self.query_one("#matrix-heads", Lines).show(heads)
        self._draw_below()

    @on(ContainerTable.Moved)
    def _draw_below(self) -> None:
        """The evidence about the selected victim, and the keys."""
        app, width = services(self), self.size.width - 2
        self.query_one("#matrix-why", Lines).show(why_lines(app, self.ref, width, self.size.height))
        parts = [say(Message.KEY_BACK, key="q")]
        parts += [
            f"{keymap.format_keys(id, app.keymap)[0]} {ACTIONS[id].foot or ACTIONS[id].title.lower()}"
            for id in FOOT
            if ACTIONS[id].why_not(self._session, self.ref) is None
        ]
        text = "  ".join(parts)
        while len(text) > width and len(parts) > 1:
            parts.pop()
            text = "  ".join(parts)
        self.query_one("#matrix-foot", Lines).show([text])

    @on(ContainerTable.Chosen)
    def action_open(self) -> None:
        """Close, with the selected victim for the list's cursor."""
        self.dismiss(self.ref)

    def action_back(self) -> None:
        """Close."""
        self.dismiss(None)
