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
    "attribution": Message.OBSERVER_ATTRIBUTION,
    "containment": Message.PART_CONTAINMENT,
    "history": Message.OBSERVER_HISTORY,
    "screen": Message.OBSERVER_SCREEN,
}
"""By `FrameObserver.name`."""


PART_NAMES: Final = {
    "inventory": Message.PART_INVENTORY,
    "groups": Message.PART_GROUPS,
    "drift": Message.PART_DRIFT,
    "sweeps": Message.PART_SWEEPS,
    "annotations": Message.PART_ANNOTATIONS,
    "containment": Message.PART_CONTAINMENT,
    "leases": Message.PART_LEASES,
}
"""By the kind of a part, the first word of its name in the session; other names are those of subscribers."""


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
        case ProblemKind.PART:
            return say(Message.PART_FAILED, part=_part(problem.subject), cause=problem.cause)


def hint(problem: Problem) -> str:
    """What to do about it, or what happens next; may be empty."""
    if problem.kind is ProblemKind.OBSERVER:
        return say(Message.TRIED_AGAIN, seconds=PAUSE_S)
    return say(Message.TRIED_ANEW) if problem.kind is ProblemKind.PART else problem.hint


def line(problem: Problem) -> str:
    """Title and hint."""
    words = hint(problem)
    return f"{title(problem)}. {words}" if words else title(problem)


def _part(subject: str) -> str:
    """A part of the session in words: the list of docker, the comparison of limits."""
    kind, _, owner = subject.partition(" ")
    known = PART_NAMES.get(kind)
    name = say(known) if known is not None else subject
    return say(Message.PART_OF, part=name, owner=owner) if known is not None and owner else name
