"""run and create; `run` in the foreground forwards output and signals and returns the exit status."""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

from runtime.engines.protocol import BOOT_POLICIES, Engine
from runtime.errors import DeniedError, KernelError, PytopError
from runtime.kernel import boot_unit
from runtime.kernel.descriptors import Reserve
from runtime.model import ContainerSpec
from tui.cli import diagnostics, exits
from tui.cli.engine_choice import add_engine, engines
from tui.cli.limits import add_limits, requested
from tui.cli.log_output import copy
from tui.cli.slow_changes import waiting_told
from tui.cli.values import bind, pairs, storage_size
from tui.core.launch import Launch
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
    add("--storage-opt", type=storage_size, default=0, metavar="size=SIZE", help="what it may write in its own root")
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
        storage_bytes=args.storage_opt,
    )


async def _engine_for(found: Iterable[Engine], image: str) -> tuple[Engine, list[Engine]]:
    """The first engine that has the image, else the first engine, whose error names the missing image.

    Also the engines that were asked before.
    """
    asked: list[Engine] = []
    for engine in found:
        images = engine.facets.images
        try:
            if images is not None and any(image in (each.id, *each.names) for each in await images.images()):
                return engine, asked
        except PytopError:
            pass
        asked.append(engine)
    return asked[0], asked[1:]


@asynccontextmanager
async def _launch(args: argparse.Namespace) -> AsyncIterator[Launch]:
    """The container is made by what is given; closed at the end."""
    engine, others = await _engine_for(engines(args), args.image)
    launch = Launch(engine, read_only=args.read_only)
    try:
        async with waiting_told(lambda: launch.under_way):
            yield launch
    finally:
        await asyncio.gather(launch.close(), *(other.close() for other in others))


async def _create(args: argparse.Namespace) -> int:
    spec = _spec(args)
    async with _launch(args) as launch:
        await launch.create(spec)
        _warn_of_boot(launch, spec)
    print(launch.container_id)
    return exits.OK


def _warn_of_boot(launch: Launch, spec: ContainerSpec) -> None:
    """Say that nothing will start it after a boot, although its policy says so."""
    if launch.boot_is_ours and spec.restart_policy in BOOT_POLICIES and not boot_unit.is_installed():
        diagnostics.complain(say(Message.NOT_AT_BOOT, name=spec.name or launch.container_id[:12]))


async def _run(args: argparse.Namespace) -> int:
    """The exit status as Docker's `run` gives it: the program's, or 125 to 127 for a failure before or beside it."""
    spec = _spec(args)
    try:
        async with _launch(args) as launch:
            return await _run_in(launch, args, spec)
    except BrokenPipeError:
        raise
    except OSError as error:
        diagnostics.complain(PytopError.from_os("run a container", error))
    except PytopError as error:
        diagnostics.complain(error)
    return exits.RUN_FAILED


async def _run_in(launch: Launch, args: argparse.Namespace, spec: ContainerSpec) -> int:
    with Reserve() as reserve:  # before anything is made that may have to be removed
        # In the foreground it is removed here, after its last output was read.
        await launch.create(replace(spec, auto_remove=args.rm and args.detach))
        started = False
        try:
            _warn_of_boot(launch, spec)
            await launch.start()
            started = True
            if args.detach:
                print(launch.container_id)
                return exits.OK
            return await _foreground(launch)
        except PytopError as error:
            diagnostics.complain(error)
            return exits.RUN_FAILED if started else _start_failed(error)
        finally:
            reserve.release()
            if args.rm and not (started and args.detach):
                await launch.remove()


def _start_failed(error: PytopError) -> int:
    """The exit code as a shell's: 126 not executable, 127 not found, else 125: the program is not to blame."""
    if isinstance(error, KernelError | DeniedError) or error.path:
        return exits.RUN_FAILED
    said = error.detail.lower()
    if error.errno == errno.ENOENT or "not found" in said or "no such file" in said:
        return exits.NO_COMMAND
    if error.errno in (errno.EACCES, errno.ENOEXEC) or "permission denied" in said:
        return exits.NOT_EXECUTABLE
    return exits.RUN_FAILED


async def _foreground(launch: Launch) -> int:
    async def pass_on(name: str) -> None:
        try:
            await launch.kill(name)
        except PytopError as error:
            diagnostics.complain(error)

    forward = _Forward(pass_on)
    output = asyncio.create_task(copy(launch.logs()))
    ended = asyncio.create_task(launch.wait())
    try:
        with forward:
            await asyncio.wait({output, ended}, return_when=asyncio.FIRST_COMPLETED)
            if output.done() and not ended.done() and isinstance(output.exception(), OSError):
                await launch.stop()  # the reader of our output has gone: stop, as for a lost terminal
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
