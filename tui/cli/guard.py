"""guard: keep protected containers within their targets, by leases alone, as far as a policy allows."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import tui
from runtime.errors import InvalidError, PytopError
from runtime.kernel import guard_unit, procfs
from runtime.kernel.guard_unit import GuardCommand
from runtime.kernel.priority_cgroup import PriorityCgroup
from tui.cli import diagnostics, exits, output
from tui.cli.common import session_of, tell_problems
from tui.cli.durations import interval
from tui.cli.engine_choice import add_engine
from tui.core.guard import policy_file
from tui.core.guard.guard import Guard
from tui.core.guard.policy import Policy
from tui.core.guard.report import GuardEvent
from tui.core.session import Session
from tui.present import guard_text
from tui.present.guard_messages import GuardMessage
from tui.present.messages import Message, say

CGROUP: Final = "pytop-containers-guard"
_SCRIPT: Final = "pytop-containers"
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_VARIABLES: Final = (
    *("PYTOP_STATE_DIR", "PYTOP_RUN_DIR", "PYTOP_CGROUP", "PYTOP_BRIDGE", "PYTOP_SUBNET", "PYTOP_FOUND"),
    *("DOCKER_HOST", "DOCKER_CONTEXT", "CONTAINER_HOST", "CONTAINER_CONNECTION"),
    *("CONTAINERD_ADDRESS", "CONTAINERD_NAMESPACE"),
)


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of `guard`."""
    parser.description = (
        "Keep protected containers within their targets: contain who hurts them, in the mildest way that works and as"
        " far as the policy allows. All that it does is leases, which end by themselves with it. A line is printed for"
        " each decision. SIGTERM, SIGINT and SIGHUP end it, and take back what it holds; killed, it leaves leases"
        " that run out. docs/guard.md is the reference of the policy."
    )
    add_engine(parser)
    parser.add_argument("policy", metavar="POLICY.toml", nargs="?", help="who is protected, who may be contained")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, and say what would be done")
    parser.add_argument("--json", action="store_true", help="a JSON document on one line for each decision")
    parser.add_argument(
        "--interval", type=interval, default=argparse.SUPPRESS, metavar="SECONDS", help="time between measurements"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="say everything that is wrong in the policy, and end")
    instead.add_argument("--unit", action="store_true", help="print a systemd unit that runs it, and write nothing")
    instead.add_argument("--install", action="store_true", help="write and enable the unit, and say what was done")
    instead.add_argument("--uninstall", action="store_true", help="disable and remove the unit")
    parser.set_defaults(func=_guard)


def _guard(args: argparse.Namespace) -> int:
    if args.uninstall:
        return _print(guard_unit.uninstall() or [say(Message.NO_UNIT)])
    if args.policy is None:
        raise InvalidError(
            "there is no policy",
            hint="Write one as docs/guard.md says: without it there is nothing the guard may touch",
        )
    if args.check:
        return _check(args.policy)
    policy = policy_file.load(args.policy)
    if args.unit or args.install:
        found = command(os.environ, args)
        return _print(guard_unit.install(found) if args.install else guard_unit.unit_text(found).splitlines())
    if args.dry_run:
        policy = replace(policy, dry_run=True)
    weight = _high_weight()
    try:
        return asyncio.run(_run(args, policy))
    finally:
        if weight is not None:
            weight.leave()


def _print(lines: list[str]) -> int:
    for line in lines:
        print(line)
    return exits.OK


def _check(path: str) -> int:
    policy, errors = policy_file.check(path)
    for error in errors:
        diagnostics.complain(error)
    if policy is None:
        return exits.code_of(errors[0])
    dry = say(GuardMessage.POLICY_DRY) if policy.dry_run else ""
    counts = {"protect": len(policy.protect), "contain": len(policy.contain), "never": len(policy.never)}
    return _print([say(GuardMessage.POLICY_RIGHT, path=path, dry=dry, **counts)])


def command(environ: Mapping[str, str], args: argparse.Namespace) -> GuardCommand:
    """This program as it was started now, with the policy's whole path."""
    root = Path(tui.__file__).parents[1]
    script = shutil.which(sys.argv[0]) if Path(sys.argv[0]).name == _SCRIPT else None
    words = [str(Path(script).absolute())] if script is not None else [sys.executable, "-m", "tui"]
    engine = ["--engine", args.engine] if args.engine is not None else []
    given = ["--dry-run"] if args.dry_run else []
    kept = {name: environ[name] for name in _VARIABLES if environ.get(name)}
    return GuardCommand((*words, *engine, "guard", *given, str(Path(args.policy).absolute())), root, kept)


def _high_weight() -> PriorityCgroup | None:
    """A cgroup of its own with a high CPU weight, unless its systemd unit has given it one."""
    with suppress(OSError):
        own = (procfs.PROC / "self/cgroup").read_text(errors="replace")
        if any(line.rpartition("/")[2] == guard_unit.NAME for line in own.splitlines()):
            return None
    try:
        return PriorityCgroup.enter(CGROUP)
    except PytopError as error:
        diagnostics.complain(say(GuardMessage.NORMAL_WEIGHT, error=error))
        return None


async def _run(args: argparse.Namespace, policy: Policy) -> int:
    """Guard until a signal; then take back what is held."""
    async with session_of(args, Session) as opened:
        code = tell_problems(opened)
        if code != exits.OK:
            return code
        opened.interval = args.interval or 1.0
        guard = Guard(opened, policy, _teller(policy, as_json=args.json))
        asked = asyncio.Event()
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, asked.set)
        await opened.start()
        guarding = asyncio.create_task(guard.run())
        waiting = asyncio.create_task(asked.wait())
        try:
            await asyncio.wait({guarding, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            ended = guarding.done()
            guarding.cancel()
            await asyncio.wait({guarding})
            await guard.release()
        if ended:
            guarding.result()  # it ends by an error only
    return exits.OK


def _teller(policy: Policy, *, as_json: bool) -> Callable[[GuardEvent], None]:
    def tell(event: GuardEvent) -> None:
        if as_json:
            output.line(as_document(event))
        else:
            text = guard_text.line(event, policy=policy.path, dry_run=policy.dry_run)
            print(f"{datetime.fromtimestamp(event.wall_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ} {text}", flush=True)

    return tell


def as_document(event: GuardEvent) -> dict[str, Any]:
    """One event as JSON; what is not known, or does not concern it, is null."""
    decision, harm = event.decision, event.decision.harm if event.decision is not None else None
    return {
        "time": output.when(event.wall_ns),
        "event": event.kind.value,
        "victim": event.victim or None,
        "suspect": event.suspect or None,
        "action": decision.action.value if decision is not None else None,
        "reason": decision.reason.value if decision is not None else None,
        "target": {"of": harm.aim.value, "figure": harm.figure, "limit": harm.target} if harm is not None else None,
        "rung": event.rung.value if event.rung is not None else None,
        "limits_of": event.target or None,
        "limits": {name.value: output.plain(value) for name, value in event.change.items()} if event.change else None,
        "leases": list(event.leases),
        "seconds": event.seconds,
        "error": str(event.error) if event.error is not None else event.detail or None,
    }
