"""The WHY line of what is selected: evidence, what was done about it with its countdown, and the next key."""

from __future__ import annotations

import os
from typing import Final

from runtime.containment.store import now_ns
from runtime.model import Ref
from tui.app import keymap
from tui.app.services import AppServices
from tui.core import culprits
from tui.core.actions import ACTIONS
from tui.core.containment_actions import victim_of
from tui.core.session import Session
from tui.present import containment_text, evidence_text, lease_text, why_text
from tui.present import format as fmt
from tui.present.matrix import NameOf, suspect_name
from tui.present.messages import Message, say

LOW_LINES: Final = 14  # below this height of the screen there is none
HIGH_LINES: Final = 30  # from this height on there may be several
MAX_WHY_LINES: Final = 3


def name_of(session: Session) -> NameOf:
    """Names of containers and groups; the short id of one that is gone."""

    def name(ref: Ref) -> str:
        subject = session.find(ref)
        return fmt.clean(subject.name if subject is not None and subject.name else ref.short)

    return name


def why_lines(app: AppServices, ref: Ref | None, width: int, height: int) -> list[str]:
    """What there is to say about what is selected: one line, three on a high screen, none on a low one."""
    if ref is None or height < LOW_LINES:
        return []
    most = 1 if height < HIGH_LINES else MAX_WHY_LINES
    session, names = app.session, name_of(app.session)
    attribution = session.attribution
    parts = [*_done(app, ref, names)]
    parts += why_text.why_parts(attribution, ref, lambda each: evidence_text.sentence(each, names), names)
    other = culprits.counterpart(attribution, ref)
    if other is not None:
        parts.append(say(Message.KEY_SHOWS, key=_key(app, "culprit"), name=names(other)))
    if ACTIONS["climb"].why_not(session, ref) is None:
        parts.append(say(Message.KEY_CONTAINS, key=_key(app, "climb")))
    return why_text.why_lines(parts, width, most, app.glyphs)


def _done(app: AppServices, ref: Ref, names: NameOf) -> list[str]:
    """What was done for it or against it, and what is leased of it."""
    session = app.session
    victim = victim_of(session, ref)
    state = session.containment.state(victim) if victim is not None else None
    parts, told = [], frozenset[str]()
    if state is not None and victim is not None:
        suspect, now = suspect_name(state.evidence.suspect, names), now_ns()
        parts = containment_text.state_text(state, names(victim), suspect, now_ns=now).split(", ")
        told = frozenset(each.lease.id for each in state.rungs)
    others = [each for each in lease_text.active(session.containment.leases) if each.ref == ref and each.id not in told]
    parts += [lease_text.lease_text(each, now_ns(), os.getpid()) for each in others]
    if ACTIONS["confirm"].why_not(session, ref) is None:
        parts.append(say(Message.KEY_CONFIRMS, key=_key(app, "confirm")))
    return parts


def _key(app: AppServices, id: str) -> str:
    return keymap.format_keys(id, app.keymap)[0]
