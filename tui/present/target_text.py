"""What a dialog is about, in one line: two containers of one name differ in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from runtime.model import Container, GroupRef
from tui.core.base_session import BaseSession, Subject
from tui.present import fields
from tui.present import format as fmt
from tui.present.fields import FIELDS
from tui.present.glyphs import Glyphs

FIGURES: Final = ("cpu", "memory", "pids")


def identity(subject: Subject, glyphs: Glyphs) -> str:
    """Engine and short id, state; the image of a container."""
    image = subject.image if isinstance(subject, Container) else ""
    return _joined((*_identity(subject), *filter(None, (image,))), glyphs)


def target_line(session: BaseSession, subject: Subject, glyphs: Glyphs) -> str:
    """Engine and short id, state, and what it uses now."""
    usage = session.frame.usages.get(subject.ref) if session.frame is not None else None
    fields_of_use = (FIELDS[id] for id in FIGURES) if usage is not None else ()
    figures = (f"{field.title} {field.format(field.extract(subject, usage))}" for field in fields_of_use)
    return _joined((*_identity(subject), *figures), glyphs)


def _identity(subject: Subject) -> Iterator[str]:
    runner = fields.runner(subject)
    yield runner if isinstance(subject.ref, GroupRef) else f"{runner} {subject.ref.short}"
    yield FIELDS["state"].format(FIELDS["state"].extract(subject, None))


def _joined(parts: Iterable[str], glyphs: Glyphs) -> str:
    return fmt.clean(f" {glyphs.dot} ".join(parts))
