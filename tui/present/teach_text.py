"""The words of the lesson about containers: chapters, facts and remarks, by their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from tui.present import format as fmt


class ChapterText(NamedTuple):
    """A chapter: its title, what it shows, and the heads of its two columns; `graph` is what its graph shows."""

    title: str
    about: tuple[str, ...]
    heads: tuple[str, str] = ("on the host", "in the container")
    graph: str = ""


CHAPTERS: Final[Mapping[str, ChapterText]] = {
    "namespaces": ChapterText(
        "A process that sees another world",
        (
            "A container is a process. The kernel shows it other process numbers, another root,",
            "another name and another network: a namespace of each kind.",
        ),
    ),
    "memory": ChapterText(
        "A cgroup that is full",
        (
            "A cgroup counts what its processes use, and bounds it. This one may have 64 MiB.",
            "The program takes more and more; when nothing can be reclaimed, the kernel ends it.",
        ),
        ("first", "then"),
        "memory",
    ),
    "quota": ChapterText(
        "Throttling by a quota",
        (
            "0.2 cores are 20 ms in each period of 100 ms. Then all its threads stand until the next",
            "period: it is not slower, it is stopped. First without a limit, then with it.",
        ),
        ("without", "with the quota"),
        "CPU, cores",
    ),
    "freeze": ChapterText(
        "Freezing",
        (
            "The kernel stops every process of a cgroup at once. They are told nothing, keep their",
            "memory, and go on as if nothing had been.",
        ),
        ("before", "after"),
        "CPU, cores",
    ),
    "kernel": ChapterText(
        "No virtual machine",
        (
            "There is one kernel: the container has booted nothing, and the host sees its processes.",
            "What shares a kernel shares its CPUs, its disk queue and its faults: hence this program.",
        ),
    ),
}
FACTS: Final[Mapping[str, str]] = {
    "pid": "the same process has the number",
    "hostname": "the machine's name is",
    "root": "its root directory is",
    "processes": "processes that it sees",
    "interfaces": "network interfaces",
    "ns_mnt": "namespace of mounts",
    "ns_pid": "namespace of processes",
    "ns_net": "namespace of the network",
    "ns_ipc": "namespace of IPC",
    "ns_uts": "namespace of names",
    "ns_cgroup": "namespace of cgroups",
    "memory_limit": "its limit; the most that was seen",
    "memory_end": "at the end it is; with exit status",
    "oom_killed": "the host has; OOM killer",
    "cpu": "cores used",
    "throttled": "periods in which it was stopped",
    "freeze_cpu": "cores, running and frozen",
    "freeze_state": "then it is; it keeps tasks / memory",
    "thaw_cpu": "cores, frozen and thawed",
    "kernel": "the kernel",
    "build": "its build",
    "boot": "the boot's id",
    "process": "its first process",
    "start": "from the command to its start",
}
REMARKS: Final[Mapping[str, str]] = {
    "filling": "it takes 8 MiB a second",
    "free": "without a limit",
    "limited": "with a quota of 0.2 cores",
    "running": "it burns CPU with two processes",
    "frozen": "frozen",
    "thawed": "thawed: it goes on",
}


def fact_rows(chapter: str, facts: Sequence[tuple[str, str, str]], *, width: int = 0) -> list[str]:
    """Facts (id, host, container) as aligned lines below the chapter's heads; `width` bounds a column, 0 does not."""
    rows = [("", *CHAPTERS[chapter].heads), *((FACTS[id], host, inside) for id, host, inside in facts)]
    clean = [tuple(fmt.clean(cell) for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in clean) for column in range(3)]
    if width:
        rest = max(20, width - widths[0] - 4)
        widths[1] = min(widths[1], rest // 2)
        widths[2] = min(widths[2], rest - widths[1])
    return ["  ".join(fmt.fit(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in clean]
