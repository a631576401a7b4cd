"""boot: start, after a boot, the containers whose restart policy says so; install what runs this at every boot."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import tui
from runtime.containment import keeper_unit
from runtime.engines.discovery import embedded_config
from runtime.errors import PytopError
from runtime.kernel import boot_unit
from runtime.kernel.boot_unit import BootCommand
from runtime.model import ContainerRef, Verb
from tui.cli import diagnostics, exits
from tui.cli.common import session, tell_problems
from tui.cli.engine_choice import add_engine
from tui.cli.verbs import VERBS
from tui.core.base_session import BaseSession
from tui.present.messages import Message, say

_VARIABLES: Final = ("PYTOP_STATE_DIR", "PYTOP_RUN_DIR", "PYTOP_CGROUP", "PYTOP_BRIDGE", "PYTOP_SUBNET")
_SCRIPT: Final = "pytop-containers"


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of `boot`."""
    parser.description = (
        f"{VERBS[verb][1].capitalize()}: always, also if they were stopped before; unless-stopped, if they were not."
        " What was started since the boot is left alone, so it may be run again. Nothing runs it by itself until"
        " --install has written a systemd unit that does. With it comes a unit that takes back leases of limits whose"
        " keeper was killed."
    )
    add_engine(parser)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--install", action="store_true", help="write and enable the unit, and say what was done")
    instead.add_argument("--print", action="store_true", dest="show", help="print the unit, and write nothing")
    instead.add_argument("--uninstall", action="store_true", help="disable and remove the unit")
    parser.set_defaults(func=_boot)


def _boot(args: argparse.Namespace) -> int:
    if args.show:
        print(boot_unit.unit_text(command(os.environ)), end="")
        for name, text in keeper_unit.texts(command(os.environ)).items():
            print(f"\n# {name}\n{text}", end="")
        return exits.OK
    if args.install or args.uninstall:
        at_boot = command(os.environ)
        more = keeper_unit.texts(at_boot)
        done = boot_unit.install(at_boot, more) if args.install else boot_unit.uninstall(more)
        for line in done or [say(Message.NO_UNIT)]:
            print(line)
        return exits.OK
    return asyncio.run(_start(args))


def command(environ: Mapping[str, str]) -> BootCommand:
    """This program as it was started now, with the settings of the embedded engine."""
    root = Path(tui.__file__).parents[1]
    script = shutil.which(sys.argv[0]) if Path(sys.argv[0]).name == _SCRIPT else None
    words = [str(Path(script).absolute())] if script is not None else [sys.executable, "-m", "tui"]
    kept = {name: environ[name] for name in _VARIABLES if environ.get(name)}
    return BootCommand((*words, "boot"), root, embedded_config(environ).state, kept)


async def due(opened: BaseSession) -> list[ContainerRef]:
    """What is to be started now, of every engine that leaves it to us."""
    found: list[ContainerRef] = []
    for engine in opened.engines.values():
        if engine.facets.boot is not None:
            found += await engine.facets.boot.due_at_boot()
    return found


async def _start(args: argparse.Namespace) -> int:
    async with session(args) as opened:
        code = tell_problems(opened)
        for ref in await due(opened):
            name = opened.containers[ref].name if ref in opened.containers else ref.short
            try:
                await opened.perform(ref, Verb.START)
                print(diagnostics.clean(name))
            except PytopError as error:
                diagnostics.complain(error)
                code = exits.code_of(error)
    return code
