"""A problem in words: a title, and what to do about it."""

from __future__ import annotations

from typing import Final

from tui.core.observers import MAX_FAILURES, PAUSE_S
from tui.core.problem import Problem, ProblemKind
from tui.present.messages import Message, say

OBSERVER_NAMES: Final = {
    "groups": Message.OBSERVER_GROUPS,
    "drift": Message.OBSERVER_DRIFT,
    "annotations": Message.OBSERVER_ANNOTATIONS,
    "history": Message.OBSERVER_HISTORY,
    "screen": Message.OBSERVER_SCREEN,
}
"""By `FrameObserver.name`."""


def title(problem: Problem) -> str:
    """One line without a full stop."""
    match problem.kind:
        case ProblemKind.ENGINE:
            return problem.cause
        case ProblemKind.MEASUREMENT:
            return say(Message.MEASURING_FAILED, cause=problem.cause)
        case ProblemKind.COMPARISON:
            subject = problem.subject or say(Message.ALL_GROUPS)
            return say(Message.COMPARING_FAILED, subject=subject, cause=problem.cause)
        case ProblemKind.OBSERVER:
            observer = say(OBSERVER_NAMES[problem.subject])
            return say(Message.OBSERVER_PAUSED, observer=observer, count=MAX_FAILURES, cause=problem.cause)


def hint(problem: Problem) -> str:
    """What to do about it, or what happens next; may be empty."""
    return say(Message.TRIED_AGAIN, seconds=PAUSE_S) if problem.kind is ProblemKind.OBSERVER else problem.hint


def line(problem: Problem) -> str:
    """Title and hint."""
    words = hint(problem)
    return f"{title(problem)}. {words}" if words else title(problem)
