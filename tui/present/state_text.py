"""The state of a container or group in words: the same in the list, on the container screen, in `ps` and in `stats`."""

from __future__ import annotations

import time
from typing import Final

from runtime.model import Container, State
from tui.core.subject import Subject
from tui.present import format as fmt
from tui.present.messages import Message, say

MIN_LOOP_RESTARTS: Final = 3
"""Restarts by its policy from which on a container that was started a moment ago is in a restart loop."""
RESTART_LOOP_S: Final = 60.0
"""A run at least this long is none of a restart loop."""
_UNWELL: Final = ("unhealthy", "starting")
_DAMAGED: Final = "damaged"
"""Its record cannot be read, whatever it does."""


def state_text(subject: Subject, now_ns: int | None = None) -> str:
    """The state, how it has ended, its health where that is not good, whether it restarts again and again or waits.

    `now_ns` is wall-clock time, now when it is None.
    """
    if not isinstance(subject, Container):
        return subject.state.value
    if subject.health == _DAMAGED:
        return fmt.clean(subject.health)
    if subject.state is State.EXITED and subject.oom_killed:
        return say(Message.STATE_OOM_KILLED)
    if subject.state is State.EXITED and subject.exit_code is not None:
        return say(Message.STATE_EXITED, code=subject.exit_code)
    if is_restart_loop(subject, now_ns):
        return _restarting(subject)
    if subject.state is State.RUNNING and subject.health in _UNWELL:
        return fmt.clean(subject.health)
    if subject.state is State.RUNNING and subject.output_limited:
        return say(Message.STATE_LOG_LIMITED)
    return subject.state.value


def is_restart_loop(subject: Subject, now_ns: int | None = None) -> bool:
    """Whether its policy restarts it: it waits for that, or was started that way again and again, a moment ago."""
    if not isinstance(subject, Container):
        return False
    if subject.state is not State.RUNNING:
        return subject.state is State.RESTARTING
    now = time.time_ns() if now_ns is None else now_ns
    young = subject.started_ns is not None and now - subject.started_ns < RESTART_LOOP_S * 1e9
    return young and (subject.restarts or 0) >= MIN_LOOP_RESTARTS


def _restarting(container: Container) -> str:
    """With as much as is known: restarting (3, last exit 1)."""
    known = [] if container.restarts is None else [str(container.restarts)]
    if container.last_exit_code is not None:
        known.append(say(Message.LAST_EXIT, code=container.last_exit_code))
    return f"{State.RESTARTING.value} ({', '.join(known)})" if known else State.RESTARTING.value
