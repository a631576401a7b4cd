"""What the guard reports, in words: one line for each event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runtime.limits.units import format_value
from runtime.model import LimitChange
from tui.core.guard.policy import Aim
from tui.core.guard.report import GuardEvent, GuardEventKind
from tui.core.guard.situation import Decision, GuardAction, GuardReason, Harm
from tui.present import format as fmt
from tui.present.limit_entries import ENTRY_OF
from tui.present.messages import Message, say

REASONS: Final[Mapping[GuardReason, Message]] = {
    GuardReason.WITHIN_TARGETS: Message.GUARD_WITHIN_TARGETS,
    GuardReason.TOO_SHORT: Message.GUARD_TOO_SHORT,
    GuardReason.NO_EVIDENCE: Message.GUARD_NO_EVIDENCE,
    GuardReason.NOT_SURE: Message.GUARD_NOT_SURE,
    GuardReason.NOBODY: Message.GUARD_NOBODY,
    GuardReason.UNTOUCHABLE: Message.GUARD_UNTOUCHABLE,
    GuardReason.PROTECTED: Message.GUARD_PROTECTED,
    GuardReason.NOT_LISTED: Message.GUARD_NOT_LISTED,
    GuardReason.WRONG_SUSPECT: Message.GUARD_WRONG_SUSPECT,
    GuardReason.CONTESTED: Message.GUARD_CONTESTED,
    GuardReason.LAST_RUNG: Message.GUARD_LAST_RUNG,
    GuardReason.FLOOR: Message.GUARD_FLOOR,
    GuardReason.LADDER_ENDS: Message.GUARD_LADDER_ENDS,
    GuardReason.COOLING_DOWN: Message.GUARD_COOLING_DOWN,
    GuardReason.BUDGET_SPENT: Message.GUARD_BUDGET_SPENT,
    GuardReason.NOT_ON_DISK: Message.GUARD_NOT_ON_DISK,
    GuardReason.REPORTED: Message.GUARD_REPORTED,
    GuardReason.HARMED: Message.GUARD_HARMED,
    GuardReason.HARM_RETURNED: Message.GUARD_HARM_RETURNED,
    GuardReason.STILL_HARMED: Message.GUARD_STILL_HARMED,
    GuardReason.CALM_TOO_SHORT: Message.GUARD_CALM_TOO_SHORT,
    GuardReason.TRIAL: Message.GUARD_TRIAL,
    GuardReason.ON_TRIAL: Message.GUARD_ON_TRIAL,
    GuardReason.RECOVERED: Message.GUARD_RECOVERED,
    GuardReason.SHARED: Message.GUARD_SHARED,
    GuardReason.VICTIM_GONE: Message.GUARD_VICTIM_GONE,
    GuardReason.EXPIRED: Message.GUARD_EXPIRED,
    GuardReason.STOPPING: Message.GUARD_STOPPING,
    GuardReason.UNMEASURED: Message.GUARD_UNMEASURED,
}
HARMS: Final[Mapping[Aim, Message]] = {
    Aim.CPU_WAIT: Message.GUARD_CPU_WAIT,
    Aim.MEMORY_WAIT: Message.GUARD_MEMORY_WAIT,
    Aim.IO_WAIT: Message.GUARD_IO_WAIT,
    Aim.MEMORY_PRESSURE: Message.GUARD_MEMORY_PRESSURE,
    Aim.P99_MS: Message.GUARD_P99,
}
_DONE: Final[Mapping[GuardAction, Message]] = {
    GuardAction.CLIMB: Message.GUARD_CLIMBED,
    GuardAction.RENEW: Message.GUARD_RENEWED,
    GuardAction.RELEASE: Message.GUARD_RELEASED,
}
_WOULD: Final[Mapping[GuardAction, Message]] = {
    GuardAction.CLIMB: Message.GUARD_WOULD_CLIMB,
    GuardAction.RENEW: Message.GUARD_WOULD_RENEW,
    GuardAction.RELEASE: Message.GUARD_WOULD_RELEASE,
}


def line(event: GuardEvent, *, policy: str = "", dry_run: bool = False) -> str:
    """One line without its time. `policy` is the path that a start is about."""
    if event.kind is GuardEventKind.STARTED:
        return say(Message.GUARD_STARTED_DRY if dry_run else Message.GUARD_STARTED, policy=policy)
    if event.kind is GuardEventKind.STOPPED:
        return say(Message.GUARD_STOPPED)
    words = _words(event)
    match event.kind:
        case GuardEventKind.NO_FIGURE:
            return say(Message.GUARD_NO_FIGURE, **words)
        case GuardEventKind.LOST:
            return say(Message.GUARD_LOST, **words)
        case GuardEventKind.FAILED:
            return say(Message.GUARD_FAILED, **words)
    decision = event.decision
    if decision is None or decision.action is GuardAction.NOTHING:
        return _nothing(event, words)
    return say((_WOULD if event.kind is GuardEventKind.WOULD_DO else _DONE)[decision.action], **words)


def _nothing(event: GuardEvent, words: Mapping[str, object]) -> str:
    decision = event.decision
    if decision is None or decision.harm is None:
        return say(Message.GUARD_NOT_DONE, **words)
    because = say(Message.GUARD_BECAUSE, **words) if event.suspect else ""
    said = say(Message.GUARD_NOT_DONE_HARMED, because=because, **words)
    detail = event.detail or (event.error.detail if event.error is not None else "")
    return f"{said} ({fmt.clean(detail)})" if detail else said


def _words(event: GuardEvent) -> dict[str, object]:
    decision = event.decision
    return {
        "victim": fmt.clean(event.victim),
        "suspect": fmt.clean(event.suspect),
        "target": fmt.clean(event.target or event.suspect),
        "rung": event.rung.value.replace("_", " ") if event.rung is not None else "",
        "change": _change(event.change),
        "seconds": event.seconds or 0.0,
        "error": fmt.clean(str(event.error) if event.error is not None else event.detail),
        "why": say(REASONS[decision.reason]) if decision is not None else "",
        "harm": harm_text(decision.harm) if decision is not None and decision.harm is not None else "",
    }


def harm_text(harm: Harm) -> str:
    """A figure that is above its target."""
    return say(HARMS[harm.aim], figure=harm.figure, target=harm.target)


def reason_text(decision: Decision) -> str:
    """Why something is done, or is not."""
    return say(REASONS[decision.reason])


def _change(change: LimitChange | None) -> str:
    if change is None:
        return ""
    values = [f"{ENTRY_OF[name].label} {format_value(name, value)}" for name, value in change.items()]
    return f" ({', '.join(values)})" if values else say(Message.GUARD_FROZEN)
