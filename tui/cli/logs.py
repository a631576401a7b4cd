"""logs: a container's output, each line to the stream it was written to."""

from __future__ import annotations

import argparse
import asyncio

from tui.cli import exits
from tui.cli.common import add_names, find, session
from tui.cli.engine_choice import add_engine
from tui.cli.log_output import copy
from tui.cli.values import tail


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of `logs`."""
    add_engine(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it ends")
    parser.add_argument("-n", "--tail", type=tail, metavar="N", help="only the last N lines (default: all)")
    parser.add_argument("-t", "--timestamps", action="store_true", help="begin each line with its time")
    add_names(parser, several=False)
    parser.set_defaults(func=lambda args: asyncio.run(_logs(args)))


async def _logs(args: argparse.Namespace) -> int:
    async with session(args) as opened:
        container = find(opened, args.container)
        await copy(opened.logs(container.ref, follow=args.follow, tail=args.tail), timestamps=args.timestamps)
    return exits.OK
