"""update: change limits, and report what the kernel holds afterwards."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Any

from runtime.errors import InvalidError
from runtime.limits import ReclaimProgress, Severity
from runtime.limits.units import human_bytes
from runtime.model import Container, FieldOutcome, LimitChange, LimitOutcome, Limits, Verdict
from tui.cli import diagnostics, exits, output
from tui.cli.common import add_names, each, session
from tui.cli.engine_choice import add_engine
from tui.cli.limits import add_limits, requested, show
from tui.core.base_session import BaseSession
from tui.present.limit_entries import ENTRY_OF
from tui.present.messages import Message, say

_INTERVAL_S = 0.5  # between two lines of progress when stderr is no terminal


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of `update`."""
    parser.description = (
        "Change limits, read them back, and say what was requested, what the engine's record says and what"
        " the kernel holds. Exit code 1 when the kernel does not hold it."
    )
    add_engine(parser)
    add_limits(parser)
    parser.add_argument(
        "--reclaim",
        action="store_true",
        help="with --memory below what is in use: make it give back memory first, step by step; nothing is killed",
    )
    parser.add_argument("--json", action="store_true", help="the outcome as one JSON document")
    add_names(parser)
    parser.set_defaults(func=lambda args: asyncio.run(_update(args)))


async def _update(args: argparse.Namespace) -> int:
    asked = requested(args)
    if not asked:
        raise InvalidError("nothing to change", hint="Give at least one limit, see `update --help`")
    if args.reclaim and not isinstance(asked.change.memory, int):
        raise InvalidError("--reclaim makes room for a memory limit", hint="Give --memory BYTES too")
    async with session(args) as opened:

        async def action(container: Container) -> tuple[Container, LimitOutcome]:
            whole = asked.complete(await _before(opened, container) if asked.depends else None)
            await _warn(opened, container, whole)
            if args.reclaim:
                outcome = await _shrink(opened, container, whole)
            else:
                outcome = await opened.update(container.ref, whole)
            return opened.containers.get(container.ref, container), outcome  # it may have ended meanwhile

        done, code = await each(opened, args.containers, action)
    results = [result for _, result in done]
    if args.json:
        output.document([_as_json(container, outcome) for container, outcome in results])
    elif results:
        _print(results)
    held = [_is_applied(container, outcome) for container, outcome in results]
    return exits.together([code, *(exits.OK if ok else exits.FAILED for ok in held)])


async def _before(session: BaseSession, container: Container) -> Limits:
    """The current limits; of a stopped container those of its next start."""
    if container.state.live:
        return await session.limits(container.ref)
    return await session.engines[container.ref.engine].recorded(container.ref.id)


async def _shrink(session: BaseSession, container: Container, change: LimitChange) -> LimitOutcome:
    """Change limits after a reclaim, with its progress on stderr."""
    assert isinstance(change.memory, int)
    report = ReclaimReport(container.name)
    try:
        return await session.shrink(container.ref, change.memory, report, beside=change)
    finally:
        report.end()


class ReclaimReport:
    """Progress of a reclaim on stderr: one line that is rewritten on a terminal, else a line every interval."""

    def __init__(self, name: str) -> None:
        self._name = diagnostics.clean(name)
        self._watched = sys.stderr.isatty()
        self._next = 0.0
        self._open = False

    def __call__(self, so_far: ReclaimProgress) -> None:
        if so_far.done and not so_far.reclaimed:
            return  # it fits already
        last = so_far.done or bool(so_far.reason)
        if not self._watched and not last and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _INTERVAL_S
        sizes = [human_bytes(size) for size in (so_far.current, so_far.target, so_far.reclaimed)]
        progress = say(Message.RECLAIMING, name=self._name, current=sizes[0], target=sizes[1], reclaimed=sizes[2])
        text = f"{diagnostics.PROGRAM}: {progress}"
        if self._watched:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            self._open = True
        else:
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """End the line."""
        if self._open:
            print(file=sys.stderr)


async def _warn(session: BaseSession, container: Container, change: LimitChange) -> None:
    """Print the findings about the change on stderr; refusals come from the engine."""
    if container.state.live:
        for finding in (await session.preview(container.ref, change)).findings:
            if finding.severity is not Severity.REFUSE:
                diagnostics.complain(f"{container.name}: {finding.text}")


def _is_applied(container: Container, outcome: LimitOutcome) -> bool:
    """The kernel holds the change; for a stopped container the engine has recorded it."""
    if container.state.live or outcome.error:
        return outcome.ok
    return all(f.verdict in (Verdict.APPLIED, Verdict.ROUNDED, Verdict.UNREADABLE) for f in outcome.fields)


def _print(results: list[tuple[Container, LimitOutcome]]) -> None:
    rows = []
    for container, outcome in results:
        for entry in outcome.fields:
            values = (entry.requested, entry.before, entry.engine, entry.kernel)
            texts = [show(entry.name, value) for value in values]
            persistence = {True: say(Message.KEPT), False: say(Message.UNTIL_RESTART), None: "-"}[entry.persistent]
            flag = ENTRY_OF[entry.name].flag.removeprefix("--")
            rows.append([container.name, flag, *texts, persistence, _verdict(container, entry)])
    output.table(["CONTAINER", "LIMIT", "REQUESTED", "BEFORE", "ENGINE SAYS", "KERNEL SAYS", "LASTS", "VERDICT"], rows)
    for container, outcome in results:
        if outcome.error:
            diagnostics.complain(f"{container.name}: {outcome.error}")


def _verdict(container: Container, entry: FieldOutcome) -> str:
    if entry.verdict is Verdict.UNREADABLE and not container.state.live:
        return say(Message.RECORDED)
    return f"{entry.verdict.value}: {entry.detail}" if entry.detail else entry.verdict.value


def _as_json(container: Container, outcome: LimitOutcome) -> dict[str, Any]:
    return {
        "engine": container.ref.engine,
        "id": container.ref.id,
        "name": container.name,
        "ok": _is_applied(container, outcome),
        "error": outcome.error,
        "limits": [
            {
                "name": entry.name.value,
                "requested": output.plain(entry.requested),
                "before": output.plain(entry.before),
                "engine": output.plain(entry.engine),
                "kernel": output.plain(entry.kernel),
                "verdict": entry.verdict.value,
                "detail": entry.detail,
                "survives": entry.persistent,
            }
            for entry in outcome.fields
        ],
    }
