"""What may be asked of a container now, and if not, why: read-only mode, the engine's word, the container's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runtime.model import Capabilities, LimitName, State, Verb
from tui.core.subject import Group

READ_ONLY: Final = "started with --read-only"
NO_CGROUP: Final = "its containers have no cgroup that is theirs alone: limit them one by one"
ONE_BY_ONE: Final = "it is a group: choose one of its containers"
NO_NETWORK: Final = "rates of the network hold for one container, not for a group"

_READING: Final = frozenset({Verb.LOGS, Verb.WAIT, Verb.EVENTS})
STATE_WORDS: Final = {
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


def by_engine(capabilities: Capabilities, what: Verb | LimitName, *, read_only: bool) -> str | None:
    """The reason that holds whatever the container's state is, or None."""
    if read_only and what not in _READING:
        return READ_ONLY
    reason = capabilities.why_not(what)
    if reason is None and isinstance(what, LimitName):
        reason = capabilities.why_not(Verb.UPDATE)
    return reason


def by_state(state: State, what: Verb | LimitName, at_rest: str = "") -> str | None:
    """The reason in the container's own state, or None; `at_rest` as in `Capabilities`."""
    verb = Verb.UPDATE if isinstance(what, LimitName) else what
    allowed = _ALLOWED.get(verb)
    if allowed is not None and state not in allowed:
        return STATE_WORDS[state]
    return at_rest or None if verb is Verb.UPDATE and not state.live else None


def by_group(group: Group, what: Verb | LimitName) -> str | None:
    """The reason that lies in being a group, or None when its members decide."""
    if what in (LimitName.NET_EGRESS, LimitName.NET_INGRESS):
        return NO_NETWORK
    if isinstance(what, LimitName) or what is Verb.UPDATE:
        return None if group.cgroup else NO_CGROUP
    return None if what in (Verb.PAUSE, Verb.UNPAUSE) else ONE_BY_ONE
