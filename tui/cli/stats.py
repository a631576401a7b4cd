"""stats: the resource use of containers, once or as a stream."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from collectors.sampling.frame import Frame, Usage
from collectors.sampling.metrics import HOST_METRICS
from runtime.model import Ref
from tui.cli import diagnostics, exits, output
from tui.cli.common import add_services, find, session, tell_problems
from tui.cli.durations import interval
from tui.cli.engine_choice import add_engine
from tui.core.base_session import BaseSession, Changed, Drift, Subject
from tui.present import problem_text, unmeasured_text
from tui.present.cells import cell_len
from tui.present.fields import FIELDS, Field

_HOME = "\x1b[H\x1b[J"


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of `stats`."""
    parser.description = (
        "Measure what running containers use: a table every interval until interrupted. With --json one"
        " JSON document per interval and line; with --once only one table or document, after one interval."
    )
    add_engine(parser)
    add_services(parser)
    parser.add_argument("--once", action="store_true", help="one measurement over one interval")
    parser.add_argument("--json", action="store_true", help="JSON, a value that is missing being null")
    parser.add_argument(
        "--interval", type=interval, default=argparse.SUPPRESS, metavar="SECONDS", help="time between measurements"
    )
    parser.add_argument("--groups", action="store_true", help="totals of compose projects, pods and slices instead")
    parser.add_argument("containers", metavar="CONTAINER", nargs="*", help="only these (default: all that run)")
    parser.set_defaults(func=lambda args: asyncio.run(_stats(args)))


async def _stats(args: argparse.Namespace) -> int:
    async with session(args) as opened:
        code = tell_problems(opened)
        if code != exits.OK:
            return code
        wanted: frozenset[Ref] = frozenset(find(opened, name).ref for name in args.containers)
        opened.interval = args.interval or 1.0
        for line in unmeasured_text.unmeasured_lines(opened.containers.values()):
            diagnostics.complain(line)
        fresh = asyncio.Event()
        opened.subscribe(lambda what: fresh.set() if what & (Changed.FRAME | Changed.PROBLEMS) else None)
        await opened.start()
        before: Frame | None = None
        while True:
            await fresh.wait()
            fresh.clear()
            if args.once and opened.unmeasured:
                for problem in opened.unmeasured:
                    diagnostics.complain(problem_text.line(problem))
                return exits.FAILED
            if opened.frame is None or opened.frame is before:
                continue
            if before is not None:  # rates need two sweeps
                subjects: Iterable[Subject] = opened.groups.values() if args.groups else opened.containers.values()
                _show(args, opened, opened.frame, _chosen(subjects, wanted))
                if args.once:
                    return exits.OK
            before = opened.frame


def _chosen(subjects: Iterable[Subject], wanted: frozenset[Ref]) -> list[Subject]:
    """The named containers, or all running ones; sorted by name."""
    chosen = [c for c in subjects if (c.ref in wanted if wanted else c.state.live)]
    return sorted(chosen, key=lambda c: (c.name, c.ref))


def _show(args: argparse.Namespace, opened: BaseSession, frame: Frame, subjects: Sequence[Subject]) -> None:
    if args.json:
        (output.document if args.once else output.line)(as_json(frame, subjects, opened.drift))
        return
    fields = [field for field in FIELDS.values() if field.default]
    rows = [
        [field.format(field.extract(subject, frame.usages.get(subject.ref))) for field in fields]
        for subject in subjects
    ]
    if sys.stdout.isatty() and not args.once:
        sys.stdout.write(_HOME)
    shown = _fitting(fields, rows, output.screen_width()) if sys.stdout.isatty() else range(len(fields))
    right = frozenset(place for place, index in enumerate(shown) if fields[index].align == "right")
    output.table(
        [fields[index].title.upper() for index in shown], [[row[index] for index in shown] for row in rows], right=right
    )
    sys.stdout.flush()


def _fitting(fields: Sequence[Field], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """The indexes of the columns that fit beside one another in `width` cells, the lowest ranks first."""
    cells = [
        max(len(field.title), *(cell_len(row[index]) for row in rows), 0) + output.GAP_CELLS
        for index, field in enumerate(fields)
    ]
    left = width + output.GAP_CELLS
    shown: list[int] = []
    for index in sorted(range(len(fields)), key=lambda index: fields[index].rank):
        if cells[index] <= left or not shown:
            shown.append(index)
            left -= cells[index]
    return sorted(shown)


def as_json(frame: Frame, subjects: Sequence[Subject], drift: Mapping[Ref, Sequence[Drift]]) -> dict[str, Any]:
    """One frame: every metric of the host and every field of every container, by id; units are the registry's.

    `drift` are the limits that somebody else has changed. `interfaces` and `devices` tell what the totals are made of.
    """
    return {
        "time": output.when(frame.wall_ns),
        "interval": frame.interval_ns / 1e9,
        "host": {id: output.plain(metric.extract(frame.host)) for id, metric in HOST_METRICS.items()},
        "containers": [
            {
                **{
                    field.id: output.plain(field.extract(subject, frame.usages.get(subject.ref)))
                    for field in FIELDS.values()
                },
                "id": subject.ref.id,
                **_parts(frame.usages.get(subject.ref)),
                "drift": output.drift(drift.get(subject.ref, ())),
            }
            for subject in subjects
        ],
    }


def _parts(usage: Usage | None) -> dict[str, list[dict[str, Any]]]:
    """The network interfaces and block devices of a container, and whether each is added to its total.

    What passes one that is not added (a bridge, a tunnel; LVM, dm-crypt, a loop device) is counted at another.
    """
    if usage is None:
        return {"interfaces": [], "devices": []}
    return {
        "interfaces": [
            {"name": name, "added": added, "net_rx": rates.rx_bytes, "net_tx": rates.tx_bytes}
            for added, interfaces in ((True, usage.net_interfaces), (False, usage.net_internal))
            for name, rates in sorted(interfaces.items())
        ],
        "devices": [
            {
                "number": number,
                "added": added,
                "io_read": rates.read_bytes,
                "io_write": output.plain(rates.write_bytes),
            }
            for added, devices in ((True, usage.io_devices), (False, usage.io_stacked))
            for number, rates in sorted(devices.items())
        ],
    }
