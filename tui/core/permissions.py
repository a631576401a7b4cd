"""What may be asked of a container now. What may not is an error whose detail is the reason.

Reasons are read-only mode, what the engine cannot do, the container's state, and being a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runtime.errors import ConflictError, PytopError, RefusedError, UnsupportedError
from runtime.model import Capabilities, LimitName, State, Verb
from tui.core.subject import Group

_READING: Final = frozenset({Verb.LOGS, Verb.WAIT, Verb.EVENTS})
_STATE_DETAILS: Final = {
    State.CREATED: "it was never started",
    State.RUNNING: "it is running",
    State.PAUSED: "it is paused",
    State.RESTARTING: "it is restarting",
    State.STOPPING: "it is stopping",
    State.REMOVING: "it is being removed",
    State.EXITED: "it is not running",
    State.DEAD: "it is dead",
    State.UNKNOWN: "its state is unknown",
}
_ALLOWED: Mapping[Verb, frozenset[State]] = {
    Verb.START: frozenset({State.CREATED, State.EXITED, State.DEAD}),
    # Stopping too: whoever began it may have died before the kill.
    Verb.STOP: frozenset({State.RUNNING, State.PAUSED, State.RESTARTING, State.STOPPING}),
    Verb.RESTART: frozenset(State) - {State.REMOVING, State.DEAD, State.UNKNOWN},
    Verb.KILL: frozenset({State.RUNNING, State.PAUSED, State.STOPPING}),
    Verb.PAUSE: frozenset({State.RUNNING}),
    Verb.UNPAUSE: frozenset({State.PAUSED}),
    Verb.REMOVE: frozenset(State) - {State.REMOVING},
    Verb.UPDATE: frozenset(State) - {State.REMOVING, State.DEAD},
}


def by_engine(title: str, what: Verb | LimitName, capabilities: Capabilities, *, read_only: bool) -> PytopError | None:
    """Refused whatever the container's state is: by read-only mode, or because the engine cannot do it."""
    if read_only and what not in _READING:
        return _read_only(title)
    reason = capabilities.why_not(what)
    if reason is None and isinstance(what, LimitName):
        reason = capabilities.why_not(Verb.UPDATE)
    return None if reason is None else UnsupportedError(title, detail=reason)


def by_state(title: str, what: Verb | LimitName, state: State, at_rest: str = "") -> PytopError | None:
    """Refused by the container's own state; `at_rest` as in `Capabilities`."""
    verb = Verb.UPDATE if isinstance(what, LimitName) else what
    allowed = _ALLOWED.get(verb)
    if allowed is not None and state not in allowed:
        return state_conflict(title, state)
    if at_rest and verb is Verb.UPDATE and not state.live:
        return ConflictError(title, detail=at_rest)
    return None


def by_group(title: str, what: Verb | LimitName, group: Group, *, read_only: bool) -> PytopError | None:
    """Refused for every group, or for one without a cgroup of its own; None when its members decide."""
    if what in (LimitName.NET_EGRESS, LimitName.NET_INGRESS):
        return UnsupportedError(title, detail="rates of the network hold for one container, not for a group")
    limits = isinstance(what, LimitName) or what is Verb.UPDATE
    if limits and not group.cgroup:
        detail = "its containers have no cgroup that is theirs alone: limit them one by one"
        return UnsupportedError(title, detail=detail)
    if not limits and what not in (Verb.PAUSE, Verb.UNPAUSE):
        return choose_one(title)
    return _read_only(title) if read_only else None


def _read_only(title: str) -> RefusedError:
    return RefusedError(title, detail="started with --read-only")


def state_conflict(title: str, state: State) -> ConflictError:
    """The state does not allow it."""
    return ConflictError(title, detail=_STATE_DETAILS[state])


def choose_one(title: str) -> UnsupportedError:
    """It can be done to a container, not to a group."""
    return UnsupportedError(title, detail="it is a group: choose one of its containers")
