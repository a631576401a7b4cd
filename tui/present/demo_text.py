"""The words of the demo: its stories, the rungs of containment and what each costs, by their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from collectors.attribution.evidence import Resource
from runtime.model import LimitOutcome, Missing
from tui.present import format as fmt
from tui.present.limit_text import LABELS, format_limit
from tui.present.messages import Message, say


class StoryText(NamedTuple):
    """A story: its title, who hurts whom, and what the noise does, which follows the hog's name."""

    title: str
    about: str
    noise: str


class RungText(NamedTuple):
    """A rung: its title, what it does, and what it costs."""

    title: str
    does: str
    costs: str


STORIES: Final[Mapping[str, StoryText]] = {
    "cpu": StoryText(
        "CPU: a batch job takes the service's core",
        "The victim needs 12 ms of CPU a request; four processes burn its core.",
        "burns CPU on the victim's core: see its cpu, psi, and the victim's p99.",
    ),
    "memory": StoryText(
        "Memory: a scan pushes an index out of the page cache",
        "Both share one bound of memory: the hog's scan evicts the victim's index.",
        "fills the memory that both share: the victim's pages come from the disk.",
    ),
    "io": StoryText(
        "Disk: a backup fills the queue of the disk",
        "The victim reads some pages a request; eight processes read megabytes.",
        "keeps the disk's queue full: the victim's reads wait behind megabytes.",
    ),
    "network": StoryText(
        "Network: a flood fills the way that both share",
        "Both send to one peer with 20 Mbit/s; the hog sends three times as much.",
        "fills the queue before the peer: the victim's messages wait, or are lost.",
    ),
    "forkbomb": StoryText(
        "Tasks: a fork bomb takes every process that there may be",
        "Both share one bound of tasks; the victim starts a process per request.",
        "takes every task that both may have: the victim's forks are refused.",
    ),
    "mixed": StoryText(
        "Mixed: two neighbours, one of CPU and one of disk",
        "One neighbour burns the victim's core, another fills the disk's queue.",
        "burns the core, and backup fills the disk's queue: one rung is too little.",
    ),
    "teach": StoryText("Teach: what a container is", "Shown on a live one, chapter by chapter.", ""),
}
RUNGS: Final[Mapping[str, RungText]] = {
    "protect": RungText(
        "raise the victim's CPU weight", "the victim gets 16 times the usual weight", "nothing that is not wanted"
    ),
    "weight": RungText(
        "lower the hog's CPU weight",
        "the hog gets the least weight there is",
        "the hog waits while others want the core",
    ),
    "idle": RungText(
        "idle class for the hog",
        "the hog runs only where nobody else wants the core",
        "the hog stands while it is wanted",
    ),
    "cap": RungText("cap the hog at 0.2 cores", "the hog may use 0.2 cores", "what the hog may not use is lost to all"),
    "reserve": RungText(
        "reserve memory for the victim",
        "64 MiB of the victim are protected from reclaim",
        "as much less for all others; on cgroup v1 the kernel heeds it only when the host itself is short",
    ),
    "high": RungText(
        "throttle the hog's memory at 48 MiB",
        "above 48 MiB the hog is slowed and its pages reclaimed",
        "the hog reads from the disk what it had in memory",
    ),
    "memory": RungText(
        "limit the hog's memory to 48 MiB",
        "the hog may have 48 MiB; its page cache shrinks to that",
        "the hog reads from the disk; what is no page cache and does not fit is killed",
    ),
    "io-protect": RungText(
        "raise the victim's disk weight", "the victim gets 10 times the usual weight", "only the bfq scheduler heeds it"
    ),
    "io-weight": RungText(
        "lower the hog's disk weight",
        "the hog gets a tenth of the usual weight",
        "the hog waits while others want the disk",
    ),
    "disk-rate": RungText(
        "limit the hog to 8 MiB/s of reads", "the hog may read 8 MiB/s", "what the disk could do more is lost to all"
    ),
    "net-rate": RungText(
        "limit what the hog sends to 4 Mbit/s",
        "the hog may send 4 Mbit/s",
        "what the way could carry more is lost to all",
    ),
    "tasks": RungText(
        "limit the hog to 40 tasks",
        "the hog may have 40 tasks; those that it has live on",
        "its forks beyond are refused",
    ),
    "freeze": RungText("freeze the hog", "the hog stands still, and holds what it has", "the hog does nothing at all"),
    "idle-and-rate": RungText(
        "idle class, and 8 MiB/s of reads for backup",
        "hog: only where nobody wants the core; backup: 8 MiB/s",
        "the hog stands while the core is wanted; what the disk could do more is lost",
    ),
}
MARKS: Final[Mapping[str, str]] = {"done": "+", "now": "*", "next": ">", "later": " ", "skipped": "-", "refused": "x"}
STEP_NAMES: Final[Mapping[str, str]] = {"idle-and-rate": "idle + rate"}
_FINDINGS: Final[Mapping[str, Message]] = {
    "helped": Message.TOOK_AWAY,
    "not held": Message.LIMIT_NOT_HELD,
    "not hurt": Message.NOT_HURT,
    "hardly": Message.HARDLY_HELPED,
}


def rung_refused(id: str, reason: str) -> str:
    """Why a rung cannot be taken here."""
    return say(Message.RUNG_REFUSED, rung=RUNGS[id].title, reason=fmt.clean(reason))


def outcome_lines(name: str, outcome: LimitOutcome) -> list[str]:
    """What was requested, what the engine and the kernel say, a line for each limit."""
    return [
        say(
            Message.RUNG_LIMIT,
            name=fmt.clean(name),
            limit=LABELS[each.name],
            requested=format_limit(each.name, each.requested),
            engine=format_limit(each.name, each.engine),
            kernel=format_limit(each.name, each.kernel),
            verdict=each.verdict,
            detail=fmt.clean(each.detail),
        ).rstrip()
        for each in outcome.fields
    ]


def use(value: float | Missing | None, resource: Resource) -> str:
    """What a hog does with the resource of a story."""
    if value is None or isinstance(value, Missing):
        return fmt.GAP if value is None else "?"
    match resource:
        case Resource.IO:
            return f"{fmt.rate(value)}/s"
        case Resource.NETWORK:
            return f"{fmt.bits(value)}/s"
        case Resource.TASKS:
            return say(Message.TASKS, count=round(value))
        case Resource.CPU | Resource.MEMORY:
            return say(Message.CORES, cores=f"{value:.2f}")


def finding(id: str, *, share: float, percentile: str, now: float, alone: float) -> str:
    """What a story showed, in one sentence. `share` is of what was added to this percentile; `now`, `alone` in ms."""
    why = say(_FINDINGS[id], share=share, percentile=percentile, now=now, alone=alone)
    return say(Message.HELPED if id == "helped" else Message.DID_NOT_HELP, why=why)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned columns, the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
