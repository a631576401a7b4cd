"""Limits on the command line, in Docker's flag names, and `update`, which tells what the kernel made of them."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from runtime.errors import InvalidError
from runtime.model import (
    UNLIMITED,
    Container,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Missing,
    Unlimited,
    Value,
    Verdict,
)
from tui.cli import exits, output
from tui.cli.common import add_engine, add_names, each, session

if TYPE_CHECKING:
    from tui.session import Session

Held = Value | Missing

_FLAGS = {
    LimitName.CPUS: "--cpus",
    LimitName.CPU_SHARES: "--cpu-shares",
    LimitName.CPUSET_CPUS: "--cpuset-cpus",
    LimitName.CPUSET_MEMS: "--cpuset-mems",
    LimitName.MEMORY: "--memory",
    LimitName.MEMORY_HIGH: "--memory-high",
    LimitName.MEMORY_RESERVATION: "--memory-reservation",
    LimitName.SWAP: "--memory-swap",
    LimitName.PIDS: "--pids-limit",
}


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Docker's limit flags, and --memory-high."""
    group = parser.add_argument_group("limits", 'bytes as 512m or 1.5g; "unlimited" lifts a limit')
    add = group.add_argument
    add("--cpus", metavar="CORES", help="CPU time in cores, for example 1.5")
    add("-c", "--cpu-shares", metavar="N", help="CPU weight beside others, 2 to 262144, 1024 is normal")
    add("--cpuset-cpus", metavar="LIST", help="CPUs that may be used, for example 0-2,4")
    add("--cpuset-mems", metavar="LIST", help="memory nodes that may be used")
    add("-m", "--memory", metavar="BYTES", help="memory; beyond it processes are killed")
    add("--memory-high", metavar="BYTES", help="memory beyond which processes are slowed down (cgroup v2)")
    add("--memory-reservation", metavar="BYTES", help="memory that is kept for it while others are squeezed")
    add("--memory-swap", metavar="BYTES", help="memory and swap together, as in Docker; -1 is unlimited")
    add("--pids-limit", metavar="N", help="number of processes and threads")


def requested(args: argparse.Namespace) -> tuple[LimitChange, int | Unlimited | None]:
    """What the flags ask for: a change without swap, and Docker's memory-and-swap total (see `with_swap`).

    Raises `InvalidError` for what is not a number, a size or a list.
    """
    from runtime.limits import units

    def parsed(text: str | None, parse: Any) -> Any:
        return None if text is None else parse(text)

    shares = parsed(args.cpu_shares, units.parse_count)
    if isinstance(shares, Unlimited):
        raise InvalidError("--cpu-shares has no unlimited", hint="262144 is the most, 1024 is normal")
    change = LimitChange(
        cpus=parsed(args.cpus, units.parse_cpus),
        cpu_shares=shares,
        cpuset_cpus=parsed(args.cpuset_cpus, units.parse_cpuset),
        cpuset_mems=parsed(args.cpuset_mems, units.parse_cpuset),
        memory=parsed(args.memory, units.parse_bytes),
        memory_high=parsed(args.memory_high, units.parse_bytes),
        memory_reservation=parsed(args.memory_reservation, units.parse_bytes),
        pids=parsed(args.pids_limit, units.parse_count),
    )
    return change, parsed(args.memory_swap, units.parse_bytes)


def swap_of(total: int | Unlimited, memory: int | Unlimited | Missing | None) -> int | Unlimited:
    """Swap alone, from Docker's total of memory and swap and the memory limit that it goes with."""
    if isinstance(total, Unlimited):
        return UNLIMITED
    if not isinstance(memory, int):
        raise InvalidError(
            "--memory-swap is memory and swap together, and there is no memory limit", hint="Give --memory too"
        )
    if total < memory:
        raise InvalidError(
            f"--memory-swap {total} is less than the memory limit {memory}",
            hint="It is memory and swap together: the same number means no swap",
        )
    return total - memory


def with_swap(
    change: LimitChange, total: int | Unlimited | None, memory: int | Unlimited | Missing | None
) -> LimitChange:
    """The change with its `swap`; `memory` is the limit that holds when the change brings none."""
    from dataclasses import replace

    if total is None:
        return change
    return replace(change, swap=swap_of(total, change.memory if change.memory is not None else memory))


def add_parsers(subparsers: Any) -> None:
    """`update`."""
    parser = subparsers.add_parser(
        "update",
        help="change the limits of containers while they run",
        description="Change limits, read them back, and say what was requested, what the engine's record says and what"
        " the kernel holds. Exit code 1 when the kernel does not hold it.",
    )
    add_engine(parser)
    add_limits(parser)
    parser.add_argument("--json", action="store_true", help="the outcome as one JSON document")
    add_names(parser)
    parser.set_defaults(func=lambda args: asyncio.run(_update(args)))


async def _update(args: argparse.Namespace) -> int:
    change, total = requested(args)
    if not change and total is None:
        raise InvalidError("nothing to change", hint="Give at least one limit, see `update --help`")
    async with session(args) as opened:

        async def action(container: Container) -> tuple[Container, LimitOutcome]:
            memory = None
            if total is not None and change.memory is None:
                memory = (await opened.limits(container.ref)).memory
            whole = with_swap(change, total, memory)
            await _warn(opened, container, whole)
            return container, await opened.update(container.ref, whole)

        done, code = await each(opened, args.containers, action)
    results = [result for _, result in done]
    if args.json:
        output.document([_as_json(container, outcome) for container, outcome in results])
    elif results:
        _print(results)
    held = [_held(container, outcome) for container, outcome in results]
    return exits.together([code, *(exits.OK if ok else exits.FAILED for ok in held)])


async def _warn(session: Session, container: Container, change: LimitChange) -> None:
    """Say on stderr what the change will do; what is refused, the engine refuses."""
    from runtime.limits import Severity

    if container.state.live:
        for finding in (await session.preview(container.ref, change)).findings:
            if finding.severity is not Severity.REFUSE:
                output.complain(f"{container.name}: {finding.text}")


def _held(container: Container, outcome: LimitOutcome) -> bool:
    """The kernel holds it; for a container without processes: the engine has it for the next start."""
    if container.state.live or outcome.error:
        return outcome.ok
    return all(f.verdict in (Verdict.APPLIED, Verdict.ROUNDED, Verdict.UNREADABLE) for f in outcome.fields)


def _print(results: list[tuple[Container, LimitOutcome]]) -> None:
    rows = []
    for container, outcome in results:
        for entry in outcome.fields:
            values = (entry.requested, entry.before, entry.engine, entry.kernel)
            shown = [show(entry.name, value) for value in values]
            rows.append([container.name, _FLAGS[entry.name].removeprefix("--"), *shown, _verdict(container, entry)])
    output.table(["CONTAINER", "LIMIT", "REQUESTED", "BEFORE", "ENGINE SAYS", "KERNEL SAYS", "VERDICT"], rows)
    for container, outcome in results:
        if outcome.error:
            output.complain(f"{container.name}: {outcome.error}")


def _verdict(container: Container, entry: FieldOutcome) -> str:
    if entry.verdict is Verdict.UNREADABLE and not container.state.live:
        return "recorded for the next start"
    well = entry.verdict in (Verdict.APPLIED, Verdict.ROUNDED)
    return entry.verdict.value if well or not entry.detail else f"{entry.verdict.value}: {entry.detail}"


def show(name: LimitName, value: Held) -> str:
    """A limit as it could be typed, "-" where there is none to show."""
    from runtime.limits import units

    if isinstance(value, Missing):
        return "-"
    return units.format_value(name, value)


def _as_json(container: Container, outcome: LimitOutcome) -> dict[str, Any]:
    return {
        "engine": container.ref.engine,
        "id": container.ref.id,
        "name": container.name,
        "ok": _held(container, outcome),
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
            }
            for entry in outcome.fields
        ],
    }
