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
from tui.present.guard_messages import GuardMessage
from tui.present.limit_entries import ENTRY_OF
from tui.present.messages import say

REASONS: Final[Mapping[GuardReason, GuardMessage]] = {
    GuardReason.WITHIN_TARGETS: GuardMessage.WITHIN_TARGETS,
    GuardReason.TOO_SHORT: GuardMessage.TOO_SHORT,
    GuardReason.NO_EVIDENCE: GuardMessage.NO_EVIDENCE,
    GuardReason.NOT_SURE: GuardMessage.NOT_SURE,
    GuardReason.NOBODY: GuardMessage.NOBODY,
    GuardReason.UNTOUCHABLE: GuardMessage.UNTOUCHABLE,
    GuardReason.PROTECTED: GuardMessage.PROTECTED,
    GuardReason.NOT_LISTED: GuardMessage.NOT_LISTED,
    GuardReason.WRONG_SUSPECT: GuardMessage.WRONG_SUSPECT,
    GuardReason.CONTESTED: GuardMessage.CONTESTED,
    GuardReason.LAST_RUNG: GuardMessage.LAST_RUNG,
    GuardReason.FLOOR: GuardMessage.FLOOR,
    GuardReason.LADDER_ENDS: GuardMessage.LADDER_ENDS,
    GuardReason.COOLING_DOWN: GuardMessage.COOLING_DOWN,
    GuardReason.BUDGET_SPENT: GuardMessage.BUDGET_SPENT,
    GuardReason.NOT_ON_DISK: GuardMessage.NOT_ON_DISK,
    GuardReason.REPORTED: GuardMessage.REPORTED,
    GuardReason.HARMED: GuardMessage.HARMED,
    GuardReason.HARM_RETURNED: GuardMessage.HARM_RETURNED,
    GuardReason.STILL_HARMED: GuardMessage.STILL_HARMED,
    GuardReason.CALM_TOO_SHORT: GuardMessage.CALM_TOO_SHORT,
    GuardReason.TRIAL: GuardMessage.TRIAL,
    GuardReason.ON_TRIAL: GuardMessage.ON_TRIAL,
    GuardReason.RECOVERED: GuardMessage.RECOVERED,
    GuardReason.SHARED: GuardMessage.SHARED,
    GuardReason.VICTIM_GONE: GuardMessage.VICTIM_GONE,
    GuardReason.EXPIRED: GuardMessage.EXPIRED,
    GuardReason.STOPPING: GuardMessage.STOPPING,
    GuardReason.UNMEASURED: GuardMessage.UNMEASURED,
}
HARMS: Final[Mapping[Aim, GuardMessage]] = {
    Aim.CPU_WAIT: GuardMessage.CPU_WAIT,
    Aim.MEMORY_WAIT: GuardMessage.MEMORY_WAIT,
    Aim.IO_WAIT: GuardMessage.IO_WAIT,
    Aim.MEMORY_PRESSURE: GuardMessage.MEMORY_PRESSURE,
    Aim.P99_MS: GuardMessage.P99,
}
_DONE: Final[Mapping[GuardAction, GuardMessage]] = {
    GuardAction.CLIMB: GuardMessage.CLIMBED,
    GuardAction.RENEW: GuardMessage.RENEWED,
    GuardAction.RELEASE: GuardMessage.RELEASED,
}
_WOULD: Final[Mapping[GuardAction, GuardMessage]] = {
    GuardAction.CLIMB: GuardMessage.WOULD_CLIMB,
    GuardAction.RENEW: GuardMessage.WOULD_RENEW,
    GuardAction.RELEASE: GuardMessage.WOULD_RELEASE,
}


def line(event: GuardEvent, *, policy: str = "", dry_run: bool = False) -> str:
    """One line without its time. `policy` is the path that a start is about."""
    if event.kind is GuardEventKind.STARTED:
        return say(GuardMessage.STARTED_DRY if dry_run else GuardMessage.STARTED, policy=policy)
    if event.kind is GuardEventKind.STOPPED:
        return say(GuardMessage.STOPPED)
    words = _words(event)
    match event.kind:
        case GuardEventKind.NO_FIGURE:
            return say(GuardMessage.NO_FIGURE, **words)
        case GuardEventKind.LOST:
            return say(GuardMessage.LOST, **words)
        case GuardEventKind.FAILED:
            return say(GuardMessage.FAILED, **words)
    decision = event.decision
    if decision is None or decision.action is GuardAction.NOTHING:
        return _nothing(event, words)
    return say((_WOULD if event.kind is GuardEventKind.WOULD_DO else _DONE)[decision.action], **words)


def _nothing(event: GuardEvent, words: Mapping[str, object]) -> str:
    decision = event.decision
    if decision is None or decision.harm is None:
        return say(GuardMessage.NOT_DONE, **words)
    because = say(GuardMessage.BECAUSE, **words) if event.suspect else ""
    said = say(GuardMessage.NOT_DONE_HARMED, because=because, **words)
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
    return f" ({', '.join(values)})" if values else say(GuardMessage.FROZEN)
