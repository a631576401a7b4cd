"""Why the figures of a container are gaps, in one sentence: in its row, and above every page of its screen."""

from __future__ import annotations

from collections.abc import Iterable

from collectors.sampling.frame import Frame
from runtime.model import Container, Missing
from tui.core.subject import Subject
from tui.present import format as fmt
from tui.present.messages import Message, say
from tui.present.state_text import is_restart_loop


def why_unmeasured(subject: Subject, frame: Frame | None) -> str:
    """The reason; "" when it is measured, is not live, or nothing is known yet."""
    if not isinstance(subject, Container):
        return ""
    if subject.unplaced and subject.state.live:
        return fmt.clean(subject.unplaced)
    usage = frame.usages.get(subject.ref) if frame is not None else None
    if is_restart_loop(subject):
        return say(Message.SHORT_RUNS) if usage is None or isinstance(usage.cpu, Missing) else ""
    problem = frame.problems.get(subject.ref, "") if frame is not None else ""
    return fmt.clean(problem) if usage is None and subject.state.live else ""


def unmeasured_lines(containers: Iterable[Container]) -> list[str]:
    """One sentence for each engine whose live containers all have no cgroup here for the same reason."""
    reasons: dict[str, set[str]] = {}
    for container in containers:
        if container.state.live:
            reasons.setdefault(container.ref.engine, set()).add(container.unplaced)
    shared = {engine: next(iter(told)) for engine, told in reasons.items() if len(told) == 1}
    return [
        fmt.clean(say(Message.ENGINE_UNMEASURED, engine=engine, reason=reason))
        for engine, reason in sorted(shared.items())
        if reason
    ]
