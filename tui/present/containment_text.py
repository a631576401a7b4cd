"""Containment in words: what a rung does and costs, what came of it, the wrong suspect, the time that is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runtime.containment.rung import Cost, RungId, SkippedRung
from runtime.model import LimitChange, Resource
from tui.core.containment.state import ClimbOutcome, PlannedRung, ProbeOutcome, VictimState
from tui.core.undo import UndoPreview
from tui.present import format as fmt
from tui.present.limit_text import LABELS, format_limit
from tui.present.messages import Message, say

RUNGS: Final[Mapping[RungId, Message]] = {
    RungId.PROTECT_CPU: Message.RUNG_PROTECT_CPU,
    RungId.PROTECT_MEMORY: Message.RUNG_PROTECT_MEMORY,
    RungId.PROTECT_IO: Message.RUNG_PROTECT_IO,
    RungId.CPU_WEIGHT: Message.RUNG_CPU_WEIGHT,
    RungId.CPU_IDLE: Message.RUNG_CPU_IDLE,
    RungId.CPU_QUOTA: Message.RUNG_CPU_QUOTA,
    RungId.MEMORY_SOFT_LIMIT: Message.RUNG_MEMORY_SOFT_LIMIT,
    RungId.MEMORY_HIGH: Message.RUNG_MEMORY_HIGH,
    RungId.MEMORY_LIMIT: Message.RUNG_MEMORY_LIMIT,
    RungId.IO_WEIGHT: Message.RUNG_IO_WEIGHT,
    RungId.DISK_RATE: Message.RUNG_DISK_RATE,
    RungId.NETWORK_RATE: Message.RUNG_NETWORK_RATE,
    RungId.TASKS: Message.RUNG_TASKS,
    RungId.FREEZE: Message.RUNG_FREEZE,
}
"""What each rung does."""

COSTS: Final[Mapping[Cost, Message]] = {
    Cost.OTHERS_LESS_CPU: Message.COST_OTHERS_LESS_CPU,
    Cost.OTHERS_LESS_CACHE: Message.COST_OTHERS_LESS_CACHE,
    Cost.OTHERS_LATER_DISK: Message.COST_OTHERS_LATER_DISK,
    Cost.LESS_WHEN_CONTENDED: Message.COST_LESS_WHEN_CONTENDED,
    Cost.ONLY_LEFTOVERS: Message.COST_ONLY_LEFTOVERS,
    Cost.UNUSED_CPU: Message.COST_UNUSED_CPU,
    Cost.RECLAIMED_FIRST: Message.COST_RECLAIMED_FIRST,
    Cost.SLOWED_BY_RECLAIM: Message.COST_SLOWED_BY_RECLAIM,
    Cost.KILLED_IF_IT_GROWS: Message.COST_KILLED_IF_IT_GROWS,
    Cost.LATER_DISK: Message.COST_LATER_DISK,
    Cost.SLOWER_DISK: Message.COST_SLOWER_DISK,
    Cost.SLOWER_NETWORK: Message.COST_SLOWER_NETWORK,
    Cost.NO_NEW_TASKS: Message.COST_NO_NEW_TASKS,
    Cost.STANDS_STILL: Message.COST_STANDS_STILL,
}
"""What each rung costs."""

RESOURCES: Final[Mapping[Resource, Message]] = {
    Resource.CPU: Message.RESOURCE_CPU,
    Resource.MEMORY: Message.RESOURCE_MEMORY,
    Resource.IO: Message.RESOURCE_IO,
    Resource.NETWORK: Message.RESOURCE_NETWORK,
    Resource.TASKS: Message.RESOURCE_TASKS,
}
"""What a victim waits for."""


def change_text(change: LimitChange) -> str:
    """A change of limits: "CPU cores 0.4"."""
    return ", ".join(f"{LABELS.get(name, name.value)} {format_limit(name, value)}" for name, value in change.items())


def what_it_does(planned: PlannedRung) -> str:
    """What a rung does, to whom: a part of a sentence."""
    return say(RUNGS[planned.rung.id], name=fmt.clean(planned.target_name), change=change_text(planned.change))


def next_rung_text(planned: PlannedRung) -> str:
    """What the next rung will do, and what it will cost."""
    return say(Message.NEXT_RUNG, what=what_it_does(planned), cost=say(COSTS[planned.rung.cost]))


def skipped_text(skipped: SkippedRung) -> str:
    """A rung that is not to be had, and why."""
    rung = skipped.rung.value.replace("_", " ")
    return say(Message.RUNG_SKIPPED, rung=rung, reason=fmt.clean(skipped.reason))


def climbed_text(outcome: ClimbOutcome) -> str:
    """What was done, and for how long."""
    seconds = (outcome.lease.expires_ns - outcome.lease.created_ns) / 1e9
    return say(Message.RUNG_CLIMBED, what=what_it_does(outcome.planned), seconds=seconds)


def state_text(state: VictimState, victim: str, suspect: str, *, now_ns: int) -> str:
    """How it stands with a victim; `now_ns` is CLOCK_BOOTTIME, as `VictimState.expires_ns`."""
    names = {"victim": fmt.clean(victim), "suspect": fmt.clean(suspect)}
    if state.wrong_suspect:
        return say(Message.WRONG_SUSPECT, **names)
    resource = say(RESOURCES[state.resource])
    if state.wait_now is None:
        parts = [say(Message.WAITS_UNMEASURED, **names, before=state.wait_before, resource=resource)]
    else:
        known = {"before": state.wait_before, "now": state.wait_now, "resource": resource}
        parts = [say(Message.WAITS_NOW, **names, **known)]
    if state.kept is not None:
        parts.append(say(Message.SUSPECT_KEPT, **names, kept=state.kept))
    if state.recovered:
        parts.append(say(Message.VICTIM_RECOVERED))
    parts.append(countdown(state, now_ns=now_ns))
    return ", ".join(part for part in parts if part)


def countdown(state: VictimState, *, now_ns: int) -> str:
    """The time until the first lease ends, or that it stays; empty when nothing holds."""
    if state.confirmed:
        return say(Message.LEASE_STAYS)
    if state.expires_ns is None:
        return ""
    return say(Message.LEASE_LEFT, seconds=max(0.0, (state.expires_ns - now_ns) / 1e9))


def probe_text(outcome: ProbeOutcome, victim: str, suspect: str) -> str:
    """What a probe has shown."""
    message = Message.PROBE_CONFIRMED if outcome.confirmed else Message.PROBE_CLEARED
    return say(message, victim=fmt.clean(victim), suspect=fmt.clean(suspect), drop=outcome.drop)


def undo_text(preview: UndoPreview, name: str, *, redo: bool = False) -> str:
    """What undoing or redoing would do."""
    message = Message.REDO_WOULD if redo else Message.UNDO_WOULD
    return say(message, name=fmt.clean(name), change=change_text(preview.change))
