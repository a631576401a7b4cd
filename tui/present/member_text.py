"""The members of a group and their current usage as lines of a table."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.model import Container, Ref
from tui.core.base_session import BaseSession
from tui.present import format as fmt
from tui.present.cells import cell_len
from tui.present.fields import FIELDS, arrange
from tui.present.glyphs import Glyphs
from tui.present.messages import Message, say
from tui.present.paragraph import Paragraph
from tui.present.table import DRIFTED

COLUMNS = ("state", "cpu", "cpu_limit", "memory", "memory_limit", "pids", "net_rx", "net_tx")
MIN_NAME_CELLS, MAX_NAME_CELLS = 12, 60


def lines(session: BaseSession, ref: Ref, width: int, glyphs: Glyphs) -> Iterator[Paragraph]:
    """A heading, and one line for every member of the group of `ref`, by CPU usage in descending order."""
    group = session.group_of(ref)
    if group is None:
        yield "warn", say(Message.GROUP_GONE)
        return
    chosen = [FIELDS[id] for id in COLUMNS]
    widths = [max(field.width + 1, len(field.title) + 1) for field in chosen]
    heads = "".join(f"{field.title:>{width}}" for field, width in zip(chosen[1:], widths[1:], strict=True))
    usages = session.frame.usages if session.frame is not None else {}
    members = [c for ref in group.members if (c := session.containers.get(ref)) is not None]
    names = {c.ref: _display_name(session, c) for c in members}
    longest = max(MIN_NAME_CELLS, *map(cell_len, names.values())) if names else MIN_NAME_CELLS
    room = max(MIN_NAME_CELLS, min(longest, MAX_NAME_CELLS, width - 1 - sum(widths)))
    yield "head", f"{'name':<{room}} {'state':<{widths[0]}}{heads}"
    for member in arrange(members, usages, FIELDS["cpu"], falling=True):
        values = [field.format(field.extract(member, usages.get(member.ref))) for field in chosen]
        cells = "".join(f"{value:>{width}}" for value, width in zip(values[1:], widths[1:], strict=True))
        name = fmt.fit(names[member.ref], room, more=glyphs.more)
        yield ("text" if member.state.live else "weak"), f"{name} {values[0]:<{widths[0]}}{cells}"


def _display_name(session: BaseSession, member: Container) -> str:
    """The name as in the list, with the sign of drift."""
    sign = DRIFTED if member.ref in session.drift else ""
    return sign + fmt.clean(member.name or member.ref.short)
