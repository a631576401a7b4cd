"""The head lines of the list: the machine, the containers, the engines, the problems. Pure functions."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collectors.sampling.frame import HostUsage
from runtime.containment.store import now_ns
from runtime.model import Missing, State, Verb
from tui.core.problem import Problem
from tui.core.session import Session
from tui.present import format as fmt
from tui.present import lease_text, problem_text
from tui.present.glyphs import Glyphs
from tui.present.messages import Message, say
from tui.present.unmeasured_text import unmeasured_lines

STOPPED = frozenset({State.CREATED, State.EXITED, State.DEAD})
CHANGING_VERBS = (Verb.START, Verb.KILL, Verb.UPDATE)
DOCTOR = "pytop-containers doctor"
DOCTOR_SAYS = f"`{DOCTOR}` says more."
RUN = "pytop-containers run host sleep 600"


@dataclass(frozen=True, slots=True)
class View:
    """The rows that the list shows: their number, the words of the filter, whether stopped ones are hidden."""

    shown: int
    words: str
    hide_stopped: bool


def machine_parts(session: Session, glyphs: Glyphs) -> list[str]:
    """The machine's usage, the most important part first: what is taken back soon, and by whom nothing is changed."""
    lease = lease_text.head_text(session.containment.leases, now_ns())
    mode = [*(["READ-ONLY"] if session.read_only else []), *([lease] if lease else [])]
    return [*mode, *_host_parts(session.frame.host, glyphs)] if session.frame is not None else [*mode, "measuring"]


def _host_parts(host: HostUsage, glyphs: Glyphs) -> list[str]:
    cpu = glyphs.gap if isinstance(host.cpu, Missing) else fmt.cores(host.cpu)
    parts = [
        f"cpu {cpu}/{host.ncpu} cores",
        f"mem {fmt.size(host.memory_used)}/{fmt.size(host.memory_total)}",
        f"load {host.load1:.1f}",
    ]
    waits = []
    for resource, short in (("cpu", "cpu"), ("memory", "mem"), ("io", "io")):
        some = host.pressure[resource].some if resource in host.pressure else Missing.UNSUPPORTED
        waits.append(f"{short} {glyphs.gap if isinstance(some, Missing) else fmt.share(some)}")
    parts.append(f"psi {' '.join(waits)}")
    if host.swap_used:
        parts.append(f"swap {fmt.size(host.swap_used)}")
    for name, value, show in _rates(host):
        if not isinstance(value, Missing):
            parts.append(f"{name} {show(value)}")
    return parts


def _rates(host: HostUsage) -> Sequence[tuple[str, float | Missing, Callable[[float], str]]]:
    return (
        ("net in", host.net_rx, fmt.rate),
        ("out", host.net_tx, fmt.rate),
        ("disk read", host.io_read, fmt.rate),
        ("write", host.io_write, fmt.rate),
    )


def inventory_parts(session: Session, view: View) -> list[str]:
    """The number of containers by state, the engines, and the interval."""
    containers = session.containers.values()
    total = len(containers)
    stopped = sum(c.state in STOPPED for c in containers)
    unknown = sum(c.state is State.UNKNOWN for c in containers)
    counts = (
        f"{total - stopped - unknown} live, {stopped} stopped{' (hidden)' if stopped and view.hide_stopped else ''}"
    )
    parts = [counts + (f", {unknown} unknown" if unknown else "")]
    if view.words:
        parts.insert(0, f"filter {fmt.clean(view.words)!r}: {view.shown} of {total}")
    lost = {problem.engine for problem in session.problems}
    for key in session.engines:
        info = session.infos.get(key)
        state = "away" if key in lost else info.version if info is not None else "asking"
        only = " (watching only, see ?)" if why_only_watched(session, key) is not None else ""
        parts.append(f"{key} {fmt.clean(state)}{only}")
    parts.append(f"every {fmt.seconds(session.interval)}")
    return parts


def why_cannot_start(session: Session, key: str) -> str | None:
    """Why an engine cannot start containers here; None when it can."""
    capabilities = session.capabilities.get(key)
    return None if capabilities is None else capabilities.why_not(Verb.START)


def why_only_watched(session: Session, key: str) -> str | None:
    """Why an engine can neither start, kill nor limit containers here; None when it can do one of these."""
    capabilities = session.capabilities.get(key)
    reasons = [None if capabilities is None else capabilities.why_not(verb) for verb in CHANGING_VERBS]
    return None if None in reasons else reasons[0]


def watched_engine_lines(session: Session) -> list[str]:
    """One sentence for each engine that can only be watched, for the help."""
    reasons = {key: why_only_watched(session, key) for key in session.engines}
    return [f"! {key} can only be watched: {fmt.clean(why)}." for key, why in reasons.items() if why is not None]


def trouble_lines(session: Session, width: int) -> list[str]:
    """The problems, and the engines of which nothing can be measured, each beginning on a line of its own."""
    unmeasured = [f"! {line}" for line in unmeasured_lines(session.containers.values())]
    return [
        *problem_lines(session.problems, width),
        *(line for text in unmeasured for line in textwrap.wrap(text, max(width, 1))),
    ]


def problem_lines(problems: Sequence[Problem], width: int) -> list[str]:
    """The problems, each beginning on a line of its own."""
    lines: list[str] = []
    for problem in problems:
        named = problem_text.title(problem).casefold().startswith(problem.engine.casefold())
        text = problem_text.line(problem)
        lines += textwrap.wrap(fmt.clean(f"! {text}" if named else f"! {problem.engine}: {text}"), max(width, 1))
    return lines


def join_parts(parts: Sequence[str], width: int, glyphs: Glyphs) -> str:
    """As many parts as fit on one line; the rest is left out whole."""
    line = ""
    for part in parts:
        longer = f"{line} {glyphs.dot} {part}" if line else part
        if line and len(longer) > width:
            break
        line = longer
    return line


def empty_list_lines(session: Session, view: View, width: int) -> list[str]:
    """The text of an empty list."""
    return [line for text in _empty_list_text(session, view) for line in textwrap.wrap(text, max(width, 1)) or [""]]


def _empty_list_text(session: Session, view: View) -> list[str]:
    total = len(session.containers)
    if view.words:
        return [f"No container matches {fmt.clean(view.words)!r}.", "Esc clears the filter."]
    if total:
        return [f"All {total} containers are stopped and hidden.", "Press a to show them."]
    if not session.engines:
        return ["There is no container engine here.", f"`{DOCTOR}` says why, and what to do."]
    away = {problem.engine for problem in session.problems}
    if any(key not in session.infos and key not in away for key in session.engines):
        return ["Asking the engines ..."]
    if away >= set(session.engines):
        return ["No engine answers; they are asked again by and by.", f"`{DOCTOR}` says what to do."]
    if session.read_only:
        return ["There are no containers yet. New ones appear here by themselves."]
    if all(why_cannot_start(session, key) is not None for key in session.engines):
        return [
            "There are no containers yet, and none can be started from here.",
            "",
            *watched_engine_lines(session),
            DOCTOR_SAYS,
        ]
    return ["There are no containers yet. Run one in another terminal:", "", RUN, "", "It appears here by itself."]


def read_only_line(session: Session) -> str:
    """That nothing can be changed in read-only mode, for the help; empty in the normal mode."""
    return say(Message.READ_ONLY_MODE) if session.read_only else ""
