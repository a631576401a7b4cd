"""run and create; `run` in the foreground forwards output and signals and returns the exit status."""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace

from runtime.engines.protocol import is_started_at_boot
from runtime.errors import PytopError
from runtime.kernel import boot_unit
from runtime.model import ContainerRef, ContainerSpec, Verb
from tui.cli import diagnostics, exits
from tui.cli.common import add_engine, session
from tui.cli.limits import add_limits, requested
from tui.cli.logs import copy
from tui.cli.values import bind, pairs
from tui.core.session import Session
from tui.present.messages import Message, say

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
LAST_OUTPUT_TIMEOUT_S = 5.0  # for the rest of the output after the container has ended
MAX_INTERRUPTS = 3  # the third Ctrl-C sends SIGKILL instead of SIGINT


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of `run` and `create`."""
    if verb == "run":
        parser.description = (
            "Make a container and start it. In the foreground its output is shown, signals are passed on, and"
            " its exit status is given; the third Ctrl-C kills it. The input is not connected."
        )
        parser.add_argument("-d", "--detach", action="store_true", help="print the id and leave it running")
        parser.add_argument("--rm", action="store_true", help="remove it when it has ended")
        parser.set_defaults(func=lambda args: asyncio.run(_run(args)))
    else:
        parser.set_defaults(func=lambda args: asyncio.run(_create(args)), rm=False)
    _add_options(parser)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)
    add = parser.add_argument
    add("--name", default="", help="a name (default: the engine chooses one)")
    add("-e", "--env", action="append", default=[], metavar="KEY[=VALUE]", help="environment; KEY alone takes yours")
    add("-l", "--label", action="append", default=[], metavar="KEY[=VALUE]", help="a label")
    add("-v", "--volume", action="append", default=[], type=bind, metavar="/SOURCE:/TARGET[:ro]", help="a bind mount")
    add("-w", "--workdir", default="", metavar="DIR", help="working directory inside")
    add("-u", "--user", default="", metavar="USER[:GROUP]", help="who runs the command")
    add("--hostname", default="", help="host name inside")
    add("--network", default="bridge", choices=("bridge", "none"), help="bridge (default) or none")
    add("--restart", default="no", metavar="POLICY", help="no (default), on-failure[:N], always, unless-stopped")
    add("--read-only", dest="root_read_only", action="store_true", help="its root file system cannot be written")
    add_limits(parser)
    add("image", metavar="IMAGE", help='what is inside; "host" is this machine\'s own programs')
    add("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="what to run, with its arguments")


def _spec(args: argparse.Namespace) -> ContainerSpec:
    return ContainerSpec(
        image=args.image,
        command=tuple(args.command),
        name=args.name,
        env=pairs(args.env, dict(os.environ)),
        labels=pairs(args.label),
        workdir=args.workdir,
        user=args.user,
        hostname=args.hostname,
        network=args.network,
        binds=tuple(args.volume),
        limits=requested(args).complete(None),
        restart_policy=args.restart,
        read_only=args.root_read_only,
    )


async def _engine_for(session: Session, image: str) -> str:
    """The key of the first engine that has the image, else of the first engine, whose error names the missing image."""
    for key, engine in session.engines.items():
        if engine.facets.images is None:
            continue
        try:
            if any(image in (found.id, *found.names) for found in await engine.facets.images.images()):
                return key
        except PytopError:
            continue
    return next(iter(session.engines))


async def _create(args: argparse.Namespace) -> int:
    spec = _spec(args)
    async with session(args) as opened:
        ref = await opened.create(await _engine_for(opened, spec.image), spec)
        _warn_of_boot(opened, ref)
    print(ref.id)
    return exits.OK


def _warn_of_boot(opened: Session, ref: ContainerRef) -> None:
    """Say that nothing will start it after a boot, although its policy says so."""
    container = opened.containers.get(ref)
    left_to_us = opened.engines[ref.engine].facets.boot is not None
    if container is not None and left_to_us and is_started_at_boot(container) and not boot_unit.is_installed():
        diagnostics.complain(say(Message.NOT_AT_BOOT, name=container.name))


async def _run(args: argparse.Namespace) -> int:
    spec = _spec(args)
    async with session(args) as opened:
        try:
            # In the foreground it is removed here, after its last output was read.
            spec = replace(spec, auto_remove=args.rm and args.detach)
            ref = await opened.create(await _engine_for(opened, spec.image), spec)
            _warn_of_boot(opened, ref)
        except PytopError as error:
            diagnostics.complain(error)
            return exits.RUN_FAILED
        try:
            await opened.perform(ref, Verb.START)
        except PytopError as error:
            diagnostics.complain(error)
            if args.rm:
                await opened.perform(ref, Verb.REMOVE, force=True)
            return _start_failed(error)
        if args.detach:
            print(ref.id)
            return exits.OK
        try:
            return await _foreground(opened, ref)
        finally:
            if args.rm:
                await opened.perform(ref, Verb.REMOVE, force=True)


def _start_failed(error: PytopError) -> int:
    """The exit code as a shell's: 126 not executable, 127 not found, else 125."""
    said = error.detail.lower()
    if error.errno == errno.ENOENT or "not found" in said or "no such file" in said:
        return exits.NO_COMMAND
    if error.errno in (errno.EACCES, errno.ENOEXEC) or "permission denied" in said:
        return exits.NOT_EXECUTABLE
    return exits.RUN_FAILED


async def _foreground(session: Session, ref: ContainerRef) -> int:
    engine = session.engines[ref.engine]

    async def pass_on(name: str) -> None:
        try:
            await engine.kill(ref.id, name)
        except PytopError as error:
            diagnostics.complain(error)

    async def stop() -> None:
        await session.perform(ref, Verb.STOP)

    forward = _Forward(pass_on)
    output = asyncio.create_task(copy(session.logs(ref, follow=True)))
    ended = asyncio.create_task(engine.wait(ref.id))
    try:
        with forward:
            await asyncio.wait({output, ended}, return_when=asyncio.FIRST_COMPLETED)
            if output.done() and not ended.done() and isinstance(output.exception(), OSError):
                await stop()  # the reader of our output has gone: stop, as for a lost terminal
            status = await ended
            await asyncio.wait({output}, timeout=LAST_OUTPUT_TIMEOUT_S)
            if output.done():
                output.result()
            return status
    finally:
        for task in (output, ended):
            task.cancel()
        await asyncio.gather(output, ended, return_exceptions=True)


class _Forward:
    """A context manager that forwards signals of this process to the container."""

    def __init__(self, send: Callable[[str], Awaitable[None]]) -> None:
        self._send = send
        self._interrupts = 0
        self._sending: set[asyncio.Task[None]] = set()

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        for number in FORWARDED:
            loop.add_signal_handler(number, self._got, number)

    def __exit__(self, *raised: object) -> None:
        loop = asyncio.get_running_loop()
        for number in FORWARDED:
            loop.remove_signal_handler(number)

    def _got(self, number: signal.Signals) -> None:
        name = number.name
        if number is signal.SIGINT:
            self._interrupts += 1
            if self._interrupts == MAX_INTERRUPTS - 1:
                diagnostics.complain(say(Message.STILL_RUNNING))
            elif self._interrupts >= MAX_INTERRUPTS:
                name = signal.SIGKILL.name
        task = asyncio.ensure_future(self._send(name))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
