"""The main screen: a live list with one row for each container."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from collectors.sampling.frame import Usage
from runtime.model import Container, GroupRef, Missing, Ref
from tui.app import keymap
from tui.app.screens import registry
from tui.app.services import services
from tui.app.why_line import why_lines
from tui.app.widgets.lines import Lines
from tui.app.widgets.table import ColumnHeads, ContainerTable
from tui.core import culprits
from tui.core.actions import ACTIONS
from tui.core.containment_actions import roles
from tui.core.session import Changed, Session, Subject
from tui.core.successor import successor
from tui.present import fields, summary, table
from tui.present.fields import FIELDS
from tui.present.glyphs import Glyphs
from tui.present.messages import Message, say
from tui.present.row_order import ORDER_HOLD_S, RowOrder
from tui.present.summary import STOPPED
from tui.present.table import Column, Row
from tui.present.unmeasured_text import why_unmeasured

S = TypeVar("S", bound=Subject)

SCROLLBAR_CELLS = 1  # reserved, so that columns do not move when it appears
LOW_LINES = 14  # below this height there is one head line
MAX_TROUBLE_LINES = 3  # of problems; the help lists all


class ListScreen(Screen[None]):
    """The list with head lines, filter and footer."""

    BINDINGS: ClassVar[list[BindingType]] = list(keymap.list_bindings())

    def __init__(
        self,
        session: Session,
        glyphs: Glyphs,
        columns: tuple[str, ...],
        banner: Widget | None = None,
        *,
        grouped: bool = False,
        cursor: Ref | None = None,
    ) -> None:
        """`cursor` is where the cursor begins, if that is not the first row."""
        super().__init__(id="list")
        self._session = session
        self._glyphs = glyphs
        self._layout = table.Layout(columns)
        self._banner = banner
        self._sort = "cpu"
        self._falling = True
        self._words = ""
        self._hide_stopped = False
        self._grouped = grouped
        self._first = cursor
        self._folded: set[GroupRef] = set()
        self._columns: tuple[Column, ...] = ()
        self._stale = True
        self._order = RowOrder()
        self._measured = False  # a frame with rates has been drawn
        self._followed: Container | None = None  # under the cursor, and the time of the last key then
        self._followed_s = -math.inf
        self._jumped: tuple[Ref, Ref] | None = None  # from whom to whom the last `w` went
        self._roles: Mapping[Ref, bool] = {}  # who is hurt by others, and who hurts others

    def compose(self) -> ComposeResult:
        """Head lines, problems, titles, rows; filter, banner and footer below."""
        yield Lines(id="host")
        yield Lines(id="inventory")
        yield Lines(id="trouble")
        yield ColumnHeads(id="heads")
        yield ContainerTable(self._glyphs, id="table")
        yield Lines(id="nothing")
        yield Lines(id="why")
        yield Input(id="filter", placeholder=say(Message.FILTER_HINT), compact=True, select_on_focus=False)
        if self._banner is not None:
            yield self._banner
        yield Lines(id="foot")

    def on_mount(self) -> None:
        """Subscribe to the session."""
        self.query_one("#filter").display = False
        self.table.focus()
        self._unsubscribe = self._session.subscribe(self._changed)

    def on_unmount(self) -> None:
        self._unsubscribe()

    def on_resize(self) -> None:
        self.call_after_refresh(self.draw)

    def on_screen_resume(self) -> None:
        """Draw what changed while another screen was on top."""
        if self._stale:
            self.draw()

    @property
    def table(self) -> ContainerTable:
        return self.query_one("#table", ContainerTable)

    @property
    def ref(self) -> Ref | None:
        """The selected container or group."""
        return self.table.selected

    @property
    def sorting(self) -> tuple[str, bool]:
        """The sort column, and whether the order is descending."""
        return self._sort, self._falling

    @property
    def _visible_below_modals(self) -> bool:
        """Only modal screens are above it. Textual renders and sends covered screens too."""
        stack = self.app.screen_stack
        return self in stack and all(screen.is_modal for screen in stack[stack.index(self) + 1 :])

    @property
    def _order_stands(self) -> bool:
        """The user acts on the rows as they are seen: with keys, or in a dialog about one of them."""
        return self.app.screen is not self or time.monotonic() - services(self).last_input_s < ORDER_HOLD_S

    def draw(self, *, rearrange: bool = False) -> None:
        """Update every widget; each redraws only the lines that changed. `rearrange`: the user asked for this order."""
        if not self._visible_below_modals:
            self._stale = True
            return
        if not self.query("#foot"):
            return  # being unmounted
        self._stale = False
        session, frame = self._session, self._session.frame
        usages = frame.usages if frame is not None else {}
        containers = session.containers.values()
        listed = (session.containers, session.groups) if self._grouped else (session.containers,)
        self._columns = self._layout.fit(self.size.width - SCROLLBAR_CELLS, *listed)
        seen = [c for c in containers if self._is_wanted(c)]
        self._roles = roles(session)
        lines = [
            table.row(
                c,
                usages.get(c.ref),
                self._columns,
                session.history,
                self._glyphs,
                self._lead(c.ref, inside),
                why=why_unmeasured(c, frame),
            )
            for c, inside in self._ordered(seen, usages, hold=self._order_stands and not rearrange)
        ]
        self._order.drawn(line.ref for line in lines)
        self.table.show(lines)
        self._begin(usages, lines)
        self._follow_name()
        self.query_one(ColumnHeads).show(self._columns, self._sort, self._falling, self._glyphs)
        self._draw_head(summary.View(len(seen), self._words, self._hide_stopped))
        self._draw_below()

    def _begin(self, usages: Mapping[Ref, Usage], lines: Sequence[Row]) -> None:
        """Keep the cursor on its first row until rates have sorted the rows, or the user has pressed a key."""
        if self._measured:
            return
        self._measured = any(not isinstance(usage.cpu, Missing) for usage in usages.values())
        if lines and services(self).last_input_s == -math.inf:
            self.table.select(lines[0].ref)
            if self._first is not None:
                self.table.select(self._first)

    def _follow_name(self) -> None:
        """Put the cursor on the container that was made anew under the name of its own, if no key was pressed since."""
        gone, keys_s = self._followed, services(self).last_input_s
        if gone is not None and gone.ref not in self._session.containers and keys_s <= self._followed_s:
            anew = successor(gone, self._session.containers.values())
            if anew is None:
                return  # it may come yet
            self.table.select(anew.ref)
        here = self._session.find(self.ref) if self.ref is not None else None
        self._followed, self._followed_s = here if isinstance(here, Container) else None, keys_s

    def _ordered(
        self, seen: Sequence[Container], usages: Mapping[Ref, Usage], *, hold: bool
    ) -> Iterator[tuple[Subject, bool]]:
        """Every row in order, with whether it is a member of a group; groups and members are sorted alike."""

        def arranged(subjects: Sequence[S]) -> list[S]:
            fresh = fields.arrange(subjects, usages, FIELDS[self._sort], falling=self._falling)
            return self._order.keep(fresh) if hold else fresh

        if not self._grouped:
            return ((container, False) for container in arranged(seen))
        members: dict[GroupRef, list[Container]] = {}
        tops: list[Subject] = []
        for container in seen:
            group = self._session.group_of(container.ref)
            if group is None:
                tops.append(container)
            else:
                members.setdefault(group.ref, []).append(container)
        tops += [self._session.groups[ref] for ref in members]
        inside: dict[Ref, list[Container]] = {
            ref: arranged(found) for ref, found in members.items() if ref not in self._folded
        }
        return table.tree(inside, arranged(tops), self._folded)

    def _lead(self, ref: Ref, inside: bool) -> str:
        """The prefix of a name: the tree glyph, and a sign where a limit has drifted."""
        drifted = table.DRIFTED if ref in self._session.drift else ""
        if ref in self._roles:
            drifted = (self._glyphs.hurts if self._roles[ref] else self._glyphs.hurt) + drifted
        if isinstance(ref, GroupRef):
            group = self._session.groups.get(ref)
            if ref in self._folded and group is not None and not self._session.drift.keys().isdisjoint(group.members):
                drifted = table.DRIFTED
            sign = self._glyphs.folded if ref in self._folded else self._glyphs.open
            return f"{sign} {drifted}"
        return f" {self._glyphs.branch} {drifted}" if inside else drifted

    def _is_wanted(self, container: Container) -> bool:
        if self._hide_stopped and container.state in STOPPED:
            return False
        return not self._words or fields.matches(container, self._words)

    def _draw_head(self, view: summary.View) -> None:
        session, width = self._session, self.size.width - 2
        host = [*services(self).guard_head, *summary.machine_parts(session, self._glyphs)]
        inventory = summary.inventory_parts(session, view)
        low = self.size.height < LOW_LINES
        self._lines("host", [summary.join_parts(host, width, self._glyphs)])
        self._lines("inventory", [] if low else [summary.join_parts(inventory, width, self._glyphs)])
        trouble = summary.trouble_lines(session, width)
        self._lines("trouble", trouble[: 1 if low else MAX_TROUBLE_LINES])
        self._lines("nothing", [] if view.shown else summary.empty_list_lines(session, view, width - 2))

    def _draw_below(self) -> None:
        """Why the selected row waits or whom it hurts; below as many keys as fit, the most needed first."""
        self._lines("why", why_lines(services(self), self.ref, self.size.width - 2, self.size.height))
        left = self.size.width - 2
        parts: list[str] = []
        for action in sorted((a for a in ACTIONS.values() if a.foot), key=lambda a: a.place):
            if action.why_not(self._session, self.ref) is not None:
                continue
            text = f"{keymap.format_keys(action.id, services(self).keymap)[0]} {action.foot}"
            if len(text) > left:
                break
            parts.append(text)
            left -= len(text) + 2
        self._lines("foot", ["  ".join(parts)])

    def _lines(self, id: str, lines: list[str]) -> None:
        widget = self.query_one(f"#{id}", Lines)
        widget.show(lines)
        widget.display = bool(lines)
        if id == "nothing":
            self.table.display = self.query_one(ColumnHeads).display = not lines

    def _changed(self, what: Changed) -> None:
        if what is Changed.FRAME and services(self).behind:
            return  # the terminal is slower than the sweeps: skip this frame
        self.draw()

    # actions

    @on(ContainerTable.Moved)
    def _moved(self) -> None:
        self._draw_below()

    @on(ContainerTable.Chosen)
    def action_open(self) -> None:
        """Open the screen of the selected container."""
        if self.ref is not None:
            self.app.push_screen(registry.screen("detail", self._session, self.ref))

    def action_culprit(self) -> None:
        """Select the culprit of the selected victim, or the victim of the selected culprit; again: back."""
        here = self.ref
        if here is None:
            return
        back = self._jumped is not None and self._jumped[1] == here and self._jumped[0] in self.table.refs
        there = self._jumped[0] if back and self._jumped else culprits.counterpart(self._session.attribution, here)
        if there is not None:
            self.table.select(there)
        if there is None or self.ref != there:
            self.notify(say(Message.NOBODY_TO_SHOW if there is None else Message.NOT_LISTED), timeout=4, markup=False)
            return
        self._jumped = None if back else (here, there)

    def action_filter(self) -> None:
        """Open the filter field."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def action_clear(self) -> None:
        """Clear the filter."""
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self.table.focus()

    @on(Input.Changed, "#filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        self._words = event.value.strip()
        self.draw(rearrange=True)

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.query_one("#filter").display = False
        self.table.focus()

    def action_sort(self, step: int) -> None:
        """Sort by the next or the previous column."""
        there = [column.id for column in self._columns if column.field is not None]
        if there:
            place = there.index(self._sort) + step if self._sort in there else 0
            self.action_sort_by(there[place % len(there)])

    def action_sort_by(self, field: str) -> None:
        """Sort by a column in its natural direction; the same column again reverses the order."""
        self._falling = not self._falling if field == self._sort else FIELDS[field].falling
        self._sort = field
        self.draw(rearrange=True)

    def action_sort_turn(self) -> None:
        self._falling = not self._falling
        self.draw(rearrange=True)

    @on(ColumnHeads.Clicked)
    def _head_clicked(self, event: ColumnHeads.Clicked) -> None:
        self.action_sort_by("cpu" if event.column == table.TREND else event.column)

    def action_group(self) -> None:
        """Toggle the grouping by compose projects, pods and slices."""
        self._grouped = not self._grouped
        if self._grouped and not self._session.groups:
            self.notify(say(Message.NO_GROUPS), title=say(Message.GROUPS), timeout=4, markup=False)
        self.draw(rearrange=True)

    def action_fold(self) -> None:
        """Collapse or expand the group that is selected or that contains the selected container."""
        ref = self.ref
        group = self._session.group_of(ref) if ref is not None else None
        if self._grouped and group is not None:
            self._folded ^= {group.ref}
            self.draw()
            self.table.select(group.ref)

    def action_stopped(self) -> None:
        """Toggle whether stopped containers are shown."""
        self._hide_stopped = not self._hide_stopped
        self.draw(rearrange=True)
