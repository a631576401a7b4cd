"""What happened to a container between two states of its record."""

from __future__ import annotations

from runtime.engines.embedded.state.record import ContainerRecord
from runtime.model import EventKind, State


def event_kinds(before: ContainerRecord | None, after: ContainerRecord | None) -> list[EventKind]:
    """The events between two states of a record; None is a container that does not exist."""
    if before is None:
        if after is None:
            return []
        return [EventKind.CREATED, *([EventKind.STARTED] if after.state.live else [])]
    if after is None:
        return [*([EventKind.DIED] if before.state.live else []), EventKind.REMOVED]
    found: list[EventKind] = []
    if after.oom_killed and not before.oom_killed:
        found.append(EventKind.OOM)
    restarted = after.state.live and before.state.live and after.started_ns != before.started_ns
    if before.state.live and (restarted or not after.state.live):
        found.append(EventKind.DIED)
    if after.state.live and (restarted or not before.state.live):
        found.append(EventKind.STARTED)
    elif after.state is State.PAUSED and before.state is not State.PAUSED:
        found.append(EventKind.PAUSED)
    elif before.state is State.PAUSED and after.state is State.RUNNING:
        found.append(EventKind.UNPAUSED)
    if after.output_limited and not before.output_limited:
        found.append(EventKind.OUTPUT_LIMITED)
    elif after.state.live and before.output_limited and not after.output_limited:
        found.append(EventKind.OUTPUT_UNLIMITED)
    if after.spec.limits != before.spec.limits:
        found.append(EventKind.UPDATED)
    return found
