"""The head lines of the container screen."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from typing import Final

from runtime.model import Container, ContainerKind, State
from tui.core.drift.detector import Drift
from tui.core.subject import Subject
from tui.present import fields
from tui.present import format as fmt
from tui.present.glyphs import Glyphs
from tui.present.limit_text import drift_text
from tui.present.messages import Message, say
from tui.present.state_text import state_text
from tui.present.summary import STOPPED

MAX_DRIFT_LINES: Final = 2
KINDS: Final = {ContainerKind.VM: Message.VIRTUAL_MACHINE, ContainerKind.SERVICE: Message.SYSTEMD_SERVICE}


def headline(subject: Subject, glyphs: Glyphs, *, gone: bool) -> str:
    """One line: name, state, image, engine."""
    dot = f" {glyphs.dot} "
    sign = glyphs.states[State.UNKNOWN if gone else subject.state]
    container = subject if isinstance(subject, Container) else None
    ended = subject.state in STOPPED  # `ending` says how
    state = subject.state.value if ended else state_text(subject)
    parts = [fmt.clean(subject.name or subject.ref.short), say(Message.GONE) if gone else state]
    if container is not None and container.health and container.state.live and container.health != state:
        parts.append(fmt.clean(container.health))
    if container is not None and container.output_limited:
        parts.append(say(Message.OUTPUT_LIMITED))
    since = fields.FIELDS["up"].extract(subject, None)
    if isinstance(since, float):
        parts.append(say(Message.UP_FOR if subject.state.live else Message.AGO, age=fmt.age(since)))
    if container is not None and container.exit_code is not None and not container.state.live:
        parts.append(ending(container))
    if container is not None and container.kind is not ContainerKind.CONTAINER:
        parts.append(say(KINDS[container.kind]))
    parts += [fmt.clean(text)] if (text := fields.description(subject)) else []
    found = container.found if container is not None else ""
    parts += [say(Message.FOUND_BY, name=fmt.clean(found)) if found else fields.runner(subject)]
    return f"{sign} " + dot.join(parts)


def ending(container: Container) -> str:
    """The end of a container: "exit status 1", "killed by signal 9", "out of memory, ..."."""
    code = container.exit_code or 0
    if 128 < code < 128 + 65:
        text = say(Message.KILLED_BY_SIGNAL, number=code - 128)
    else:
        text = say(Message.EXIT_STATUS, code=code)
    return say(Message.OUT_OF_MEMORY, ending=text) if container.oom_killed else text


def details(subject: Subject) -> str:
    """One line: id, pid, addresses, ports, start, error, command; of a group its cgroup."""
    if not isinstance(subject, Container):
        return fmt.clean(f"cgroup {subject.cgroup}" if subject.cgroup else say(Message.NO_OWN_CGROUP))
    container = subject
    parts = [f"id {container.ref.short}"]
    if container.pid is not None:
        parts.append(f"pid {container.pid}")
    if container.addresses:
        parts.append(" ".join(container.addresses))
    parts += [f"{p.host}>{p.container}/{p.protocol}" for p in container.ports if p.host is not None]
    if container.started_ns:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(container.started_ns / 1e9))
        parts.append(say(Message.STARTED_AT, time=started))
    if container.restarts:
        parts.append(say(Message.RESTARTED, count=container.restarts, policy=container.restart_policy))
    if container.last_exit_code is not None:
        parts.append(say(Message.LAST_EXIT, code=container.last_exit_code))
    if container.error:
        parts.append(container.error)
    parts.append(" ".join(container.command))
    return fmt.clean("  ".join(parts))


def drift_lines(drifts: Sequence[Drift], key: str, width: int, glyphs: Glyphs) -> list[str]:
    """The drifted limits and the time of detection, on two lines at most. `key` opens the limit editor."""
    clock = time.strftime("%H:%M:%S", time.localtime(min(each.since_ns for each in drifts) / 1e9))
    limits = "; ".join(drift_text(each) for each in drifts)
    text = fmt.clean(say(Message.CHANGED_AT, clock=clock, key=key, limits=limits))
    lines = textwrap.wrap(text, width)
    if len(lines) <= MAX_DRIFT_LINES:
        return lines
    rest = " ".join(lines[MAX_DRIFT_LINES - 1 :])
    return [*lines[: MAX_DRIFT_LINES - 1], fmt.fit(rest, width, more=glyphs.more)]
