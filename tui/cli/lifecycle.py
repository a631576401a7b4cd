"""start, stop, restart, pause, unpause, kill, rm, wait: the verbs of a container's life cycle."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from typing import Any

from runtime.model import Container, Verb
from tui.cli import diagnostics, exits
from tui.cli.common import add_names, each, session
from tui.cli.durations import seconds
from tui.cli.engine_choice import add_engine
from tui.cli.values import signal_name
from tui.cli.verbs import VERBS

_VERBS = {
    "start": Verb.START,
    "stop": Verb.STOP,
    "restart": Verb.RESTART,
    "pause": Verb.PAUSE,
    "unpause": Verb.UNPAUSE,
    "kill": Verb.KILL,
    "rm": Verb.REMOVE,
}
_OPTIONS: dict[Verb, Callable[[argparse.Namespace], dict[str, Any]]] = {
    Verb.STOP: lambda args: {"timeout": args.time},
    Verb.RESTART: lambda args: {"timeout": args.time},
    Verb.KILL: lambda args: {"signal": args.signal},
    Verb.REMOVE: lambda args: {"force": args.force},
}


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of each verb."""
    add_engine(parser)
    add_names(parser)
    if verb == "wait":
        parser.set_defaults(func=lambda args: asyncio.run(_wait(args)))
        return
    asked = _VERBS[verb]
    parser.description = VERBS[verb][1].capitalize() + "."
    match asked:
        case Verb.STOP | Verb.RESTART:
            parser.add_argument(
                "-t",
                "--time",
                type=seconds,
                metavar="SECONDS",
                help="grace before the kill (default: the container's own)",
            )
        case Verb.KILL:
            parser.add_argument(
                "-s",
                "--signal",
                type=signal_name,
                default="SIGKILL",
                metavar="SIGNAL",
                help="name or number (default: SIGKILL)",
            )
        case Verb.REMOVE:
            parser.add_argument("-f", "--force", action="store_true", help="kill them first if they run")
    options = _OPTIONS.get(asked)
    parser.set_defaults(func=lambda args: asyncio.run(_perform(args, asked, options(args) if options else {})))


async def _perform(args: argparse.Namespace, verb: Verb, options: dict[str, Any]) -> int:
    async with session(args) as opened:

        async def action(container: Container) -> None:
            await opened.perform(container.ref, verb, **options)

        done, code = await each(opened, args.containers, action)
    for name, _ in done:
        print(diagnostics.clean(name))
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
