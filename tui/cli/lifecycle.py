"""start, stop, restart, pause, unpause, kill, rm, wait: one verb for each thing that an engine can be asked."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from typing import Any

from runtime.model import Container, Verb
from tui.cli import exits, output
from tui.cli.common import add_engine, add_names, each, session
from tui.cli.values import seconds, signal_name


def add_parsers(subparsers: Any) -> None:
    """The verbs and their options."""
    _verb(subparsers, Verb.START, "start", "start containers that are not running")
    stop = _verb(subparsers, Verb.STOP, "stop", "ask containers to end, kill those that do not in time")
    restart = _verb(subparsers, Verb.RESTART, "restart", "stop and start containers")
    for parser in (stop, restart):
        parser.add_argument(
            "-t", "--time", type=seconds, metavar="SECONDS", help="grace before the kill (default: the container's own)"
        )
    _verb(subparsers, Verb.PAUSE, "pause", "freeze every process of containers")
    _verb(subparsers, Verb.UNPAUSE, "unpause", "let paused containers go on")
    kill = _verb(subparsers, Verb.KILL, "kill", "send a signal to containers")
    kill.add_argument(
        "-s",
        "--signal",
        type=signal_name,
        default="SIGKILL",
        metavar="SIGNAL",
        help="name or number (default: SIGKILL)",
    )
    remove = _verb(subparsers, Verb.REMOVE, "rm", "remove containers that are not running")
    remove.add_argument("-f", "--force", action="store_true", help="kill them first if they run")
    wait = subparsers.add_parser("wait", help="wait for containers to end, print their exit statuses")
    add_engine(wait)
    add_names(wait)
    wait.set_defaults(func=lambda args: asyncio.run(_wait(args)))


def _verb(subparsers: Any, verb: Verb, name: str, what: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(name, help=what, description=what.capitalize() + ".")
    add_engine(parser)
    add_names(parser)
    options = _OPTIONS.get(verb)
    parser.set_defaults(func=lambda args: asyncio.run(_perform(args, verb, options(args) if options else {})))
    return parser


_OPTIONS: dict[Verb, Callable[[argparse.Namespace], dict[str, Any]]] = {
    Verb.STOP: lambda args: {"timeout": args.time},
    Verb.RESTART: lambda args: {"timeout": args.time},
    Verb.KILL: lambda args: {"signal": args.signal},
    Verb.REMOVE: lambda args: {"force": args.force},
}


async def _perform(args: argparse.Namespace, verb: Verb, options: dict[str, Any]) -> int:
    async with session(args) as opened:

        async def action(container: Container) -> None:
            await opened.perform(container.ref, verb, **options)

        done, code = await each(opened, args.containers, action)
    for name, _ in done:
        print(output.clean(name))
    return code


async def _wait(args: argparse.Namespace) -> int:
    """Print each status; the exit status is the last one's, as the shell's own `wait` does it."""
    async with session(args) as opened:

        async def action(container: Container) -> int:
            return await opened.engines[container.ref.engine].wait(container.ref.id)

        done, code = await each(opened, args.containers, action)
    for _, status in done:
        print(status)
    return code if code != exits.OK or not done else done[-1][1]
