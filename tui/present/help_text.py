"""The help: keys, columns, glyphs, and what is not possible here, with the reason."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

from runtime.model import Ref
from tui.core.actions import ACTIONS, APP, CONTAINER, LIST
from tui.core.keys import LOG, MOVES, PAGES
from tui.core.session import Session
from tui.present import format as fmt
from tui.present.fields import FIELDS
from tui.present.glyphs import Glyphs
from tui.present.summary import read_only_line, trouble_lines, watched_engine_lines
from tui.present.table import DRIFTED

KeysOf: TypeAlias = Callable[[str], Sequence[str]]
KEYS_CELLS = 16
PROBLEM_CELLS = 90


def wrapped(lines: Iterable[str], width: int) -> Iterator[str]:
    """The lines wrapped to `width` cells; continuation lines are indented to where the text began."""
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line.startswith("  ") and "  " in line.strip():
            indent = KEYS_CELLS + 2
        yield from textwrap.wrap(line, max(width, indent + 10), subsequent_indent=" " * indent) or [""]


def page(session: Session, ref: Ref | None, keys: KeysOf, glyphs: Glyphs) -> Iterator[str]:
    """The lines of the help; `keys` gives the keys of an action or a move by id."""
    yield from filter(
        None, (read_only_line(session), *watched_engine_lines(session), *trouble_lines(session, PROBLEM_CELLS))
    )
    yield from _keys(session, ref, keys)
    yield ""
    yield "STATES"
    states = [f"{sign} {state.value}" for state, sign in glyphs.states.items()]
    yield from ("  " + "".join(f"{text:<14}" for text in states[start : start + 4]).rstrip() for start in (0, 4, 8))
    yield f"  Before a name: {glyphs.hurts} it hurts others, {glyphs.hurt} it is hurt by others,"
    yield f"  {DRIFTED} somebody else has changed its limits."
    yield ""
    yield "COLUMNS"
    yield "  CPU is in cores: 1.50 is one and a half. K, M, G are multiples of 1024; rates are per second."
    yield f"  {glyphs.gap} means that there is no value (not measured yet, denied, not known here); max is no limit."
    yield "  The trend is CPU against its limit, or against the whole machine where there is no limit."
    for field in FIELDS.values():
        unit = f" ({field.unit})" if field.unit else ""
        yield f"  {field.title:<{KEYS_CELLS}}{field.about}{unit}  [{field.id}]"


def _keys(session: Session, ref: Ref | None, keys: KeysOf) -> Iterator[str]:
    container = session.find(ref) if ref is not None else None
    for group, actions in groupby(ACTIONS.values(), key=lambda action: action.group):
        yield ""
        yield group.upper() + (f": {fmt.clean(container.name)}" if group == CONTAINER and container is not None else "")
        for action in actions:
            about = f": {action.about}" if action.about else ""
            refusal = action.why_not(session, ref)
            now = f" (not now: {refusal.detail})" if refusal is not None else ""
            yield f"  {', '.join(keys(action.id)):<{KEYS_CELLS}}{action.title}{about}{now}"
        if group == LIST:
            for id, (_, title) in MOVES.items():
                yield f"  {', '.join(keys(id)):<{KEYS_CELLS}}{title}"
            yield ""
            yield "THE SCREEN OF ONE CONTAINER"
            for id, (_, _, title) in {**PAGES, **LOG}.items():
                yield f"  {', '.join(keys(id)):<{KEYS_CELLS}}{title}"
        if group == APP:
            yield "  Keys can be changed in ~/.config/pytop-containers/config.toml: [keys] stop = 'f9'"
