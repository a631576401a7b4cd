"""What can be done now about who hurts the selected container: for each action the reason why it cannot be done."""

from __future__ import annotations

import os
from collections.abc import Mapping

from runtime.errors import InvalidError, PytopError, RefusedError
from runtime.model import Ref
from tui.core import culprits
from tui.core.session import Session


def victim_of(session: Session, ref: Ref) -> Ref | None:
    """The victim for whom something is done when this container is selected: itself, or the one that it hurts.

    A victim in whose favour something was done already stays one while its evidence is gone.
    """
    containment = session.containment
    if containment.state(ref) is not None:
        return ref
    helped = (each.victim for each in containment.states() if each.evidence.suspect.ref == ref)
    return next(helped, None) or culprits.victim_for(session.attribution, ref)


def roles(session: Session) -> Mapping[Ref, bool]:
    """As `culprits.roles`; that a suspect waits for the victim, for whom it was put behind, is what was wanted."""
    found = dict(culprits.roles(session.attribution))
    for state in session.containment.states():
        suspect = state.evidence.suspect.ref
        if state.rungs and suspect is not None:
            if found.get(suspect) is False:
                del found[suspect]
            if found.pop(state.victim, None) is not None:
                found[state.victim] = False
    return found


def why_no_culprit(session: Session, ref: Ref) -> PytopError | None:
    """None when it is hurt by a container, or hurts one."""
    if culprits.counterpart(session.attribution, ref) is not None:
        return None
    return InvalidError("show the culprit", detail="no container hurts it, and it hurts none")


def why_no_climb(session: Session, ref: Ref) -> PytopError | None:
    """None when somebody hurts it, or it hurts somebody; whether there is a next rung is known when it is planned."""
    if session.read_only:
        return RefusedError("contain", detail="started with --read-only")
    if victim_of(session, ref) is not None:
        return None
    return InvalidError("contain", detail="nobody hurts it, and it hurts nobody")


def why_no_step_back(session: Session, ref: Ref) -> PytopError | None:
    """None when a rung was climbed for it, or against it."""
    victim = victim_of(session, ref)
    state = session.containment.state(victim) if victim is not None else None
    if state is not None and state.rungs:
        return None
    return InvalidError("take a rung back", detail="nothing was done for it")


def why_no_confirm(session: Session, ref: Ref) -> PytopError | None:
    """None when something is leased for it, or of it."""
    victim = victim_of(session, ref)
    state = session.containment.state(victim) if victim is not None else None
    leased = state is not None and state.expires_ns is not None
    own = (each.ref == ref and each.holder.pid == os.getpid() for each in session.containment.leases)
    return None if leased or any(own) else InvalidError("keep a lease", detail="there is none for it")


def why_no_probe(session: Session, ref: Ref) -> PytopError | None:
    """None when there is a suspect to be tested."""
    victim = victim_of(session, ref)
    if victim is not None and culprits.blamed(session.attribution, victim) is not None:
        return None
    return InvalidError("test the suspect", detail="there is no suspect")
