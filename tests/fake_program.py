"""What runs in a fake engine's container: nothing but a number, or a real child process of the tests."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from runtime.model import ContainerSpec

PIECE_BYTES = 16 * 1024  # a longer line comes in pieces, as from Docker's and Podman's log drivers
FIRST_PID = 1 << 23  # Linux gives no process a number above 2**22
_pids = itertools.count(FIRST_PID)

Say = Callable[[str, bytes, bool], None]
"""Told of each line: its stream, its bytes, and whether its end did not come."""
Ended = Callable[[int], None]
"""Told of the end once, with the exit status, 128+N for a death by signal N."""


class Program(Protocol):
    """One run of a container's first process."""

    pid: int

    def signal(self, number: int) -> None:
        """SIGKILL, SIGSTOP and SIGCONT go to all of its processes, any other signal to the first one."""
        ...


Launcher = Callable[[ContainerSpec, Say, Ended], Awaitable[Program]]
"""Starts a program; raises `OSError` when it cannot be executed."""


class IdleProgram:
    """A program that says nothing and ends by the first signal that would end a process."""

    def __init__(self, ended: Ended, pid: int | None = None) -> None:
        self.pid = next(_pids) if pid is None else pid
        self._ended = ended

    def signal(self, number: int) -> None:
        if number not in (signal.SIGSTOP, signal.SIGCONT, signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG):
            self._ended(128 + number)


async def idle(_: ContainerSpec, __: Say, ended: Ended) -> Program:
    """Launch nothing."""
    return IdleProgram(ended)


class ChildProgram:
    """A real process in a session of its own; with it ends whatever it has started."""

    def __init__(self, process: asyncio.subprocess.Process, say: Say, ended: Ended) -> None:
        self.pid = process.pid
        self._process = process
        self._task = asyncio.create_task(self._run(say, ended))

    async def _run(self, say: Say, ended: Ended) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        copies = [
            asyncio.create_task(_copy(name, reader, say))
            for name, reader in (("stdout", self._process.stdout), ("stderr", self._process.stderr))
        ]
        await _exit_of(self.pid)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        status = await self._process.wait()  # which waits for the output's end too
        await asyncio.gather(*copies)
        ended(status if status >= 0 else 128 - status)

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            if number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT):
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)


async def _exit_of(pid: int) -> None:
    """Wait until it has ended, whether or not anybody has waited for it."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _copy(stream: str, reader: asyncio.StreamReader, say: Say) -> None:
    rest = b""
    while data := await reader.read(PIECE_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            say(stream, line, False)
        if len(rest) >= PIECE_BYTES:
            say(stream, rest, True)
            rest = b""
    if rest:
        say(stream, rest, True)


async def child(spec: ContainerSpec, say: Say, ended: Ended) -> Program:
    """Run the command as a process of this machine, with the spec's environment and directory."""
    process = await asyncio.create_subprocess_exec(
        *spec.command,
        env={"PATH": os.environ["PATH"], **spec.env},
        cwd=spec.workdir or "/",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    return ChildProgram(process, say, ended)
