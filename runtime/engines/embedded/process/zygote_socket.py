"""Sockets of zygotes: which one a client uses, and how the others are ended.

A zygote forks the code that it has in memory, so after an upgrade it would start containers with the old code.
Therefore a socket is named after the code that its zygote was started from, and a client uses a zygote of its own code
only. When it has started one it ends those of other code; their shims go on until their containers end (decision 0012).
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Final

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.process.messages import QUIT
from runtime.errors import UnavailableError
from runtime.kernel import command_line, procfs

PACKAGE: Final = Path(__file__).resolve().parents[3]
"""The directory of the package `runtime`, from which zygotes are started."""
PROCESS_NAME: Final = "pytop-zygote"
UNVERSIONED: Final = "zygote.sock"
"""The socket of zygotes of versions before sockets were named after the code."""
_QUIT_TIMEOUT_S: Final = 5.0
_HANDOVER_TIMEOUT_S: Final = 1.0


@cache
def own_name() -> str:
    """The socket of zygotes of this code: its name stands for the place, size and time of each source file."""
    digest = hashlib.blake2b(digest_size=6)
    try:
        sources = sorted(_sources(str(PACKAGE)))
    except OSError as error:
        hint = "Was it upgraded or removed? Start it again"
        raise UnavailableError.from_os("read this program's own files", error, hint=hint) from error
    for path, status in sources:
        digest.update(os.fsencode(f"{path} {status.st_size} {status.st_mtime_ns}\n"))
    return f"zygote-{digest.hexdigest()}.sock"


def _sources(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _sources(entry.path)
            elif entry.name.endswith(".py"):
                yield entry.path, entry.stat()


def names(config: EmbeddedConfig) -> list[str]:
    """The sockets of this instance's zygotes, of any code; not each has somebody who listens."""
    return sorted(path.name for path in config.run.glob("zygote*.sock"))


def connect(config: EmbeddedConfig, name: str, *, wait: bool = True) -> socket.socket:
    """Connect to a zygote. Raises `OSError`; without `wait` a `BlockingIOError` where too many are waiting already."""
    directory = os.open(config.run, os.O_PATH | os.O_CLOEXEC)
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:  # by descriptor: the path of a socket may not be longer than 107 bytes
            connection.setblocking(wait)
            connection.connect(f"/proc/self/fd/{directory}/{name}")
        except OSError:
            connection.close()
            raise
    finally:
        os.close(directory)
    return connection


def quit_all(config: EmbeddedConfig) -> None:
    """End the instance's zygotes, of any code; containers go on."""
    _end(config, names(config), _QUIT_TIMEOUT_S)


def retire_others(config: EmbeddedConfig) -> None:
    """End the zygotes of other code. Call it with the launchers' lock held, so that none is being started.

    A client of that code that still runs starts another one when it needs it.
    """
    _end(config, [name for name in names(config) if name != own_name()], _HANDOVER_TIMEOUT_S)


def _end(config: EmbeddedConfig, sockets: Sequence[str], timeout: float) -> None:
    """Ask the zygotes of these sockets to end, and kill those that do not within `timeout` seconds.

    That is one whose own code was removed from the disk: it cannot fork the process that would take the request, and
    tries for ever. Shims do not notice the end of their zygote. Sockets that nobody listens to are removed.
    """
    unanswered: set[str] = set()
    waiting: dict[int, str] = {}
    poll = select.poll()
    with ExitStack() as connections:
        for name in sockets:
            try:
                connection = connections.enter_context(connect(config, name, wait=False))
                connection.send(QUIT)
            except ConnectionRefusedError:
                (config.run / name).unlink(missing_ok=True)
            except BlockingIOError:
                unanswered.add(name)
            except OSError:
                continue  # it has just ended
            else:
                waiting[connection.fileno()] = name
                poll.register(connection, select.POLLIN)
        deadline = time.monotonic() + timeout
        while waiting and (left := deadline - time.monotonic()) > 0:
            for fd, _ in poll.poll(left * 1000):
                poll.unregister(fd)
                del waiting[fd]
        unanswered.update(waiting.values())
    if unanswered:
        _kill(config, unanswered)


def _kill(config: EmbeddedConfig, sockets: set[str]) -> None:
    """SIGKILL for this instance's zygotes that serve these sockets."""
    for pid in (int(name) for name in os.listdir(procfs.PROC) if name.isdecimal()):
        with suppress(OSError):
            fd = os.pidfd_open(pid)  # first, so that what is read is about the process that is killed
            try:
                if serves(config, pid) in sockets:
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            finally:
                os.close(fd)


def serves(config: EmbeddedConfig, pid: int) -> str | None:
    """The socket that a process serves, if it is a zygote of this instance. Raises `OSError` when it is gone."""
    process = procfs.PROC / str(pid)
    if (process / "comm").read_text(errors="replace").strip() != PROCESS_NAME:
        return None
    arguments = (command_line.read(pid) or b"").decode(errors="replace").rstrip("\0").split("\0")
    for argument in arguments:
        with suppress(ValueError, TypeError, KeyError):
            if json.loads(argument)["run"] == str(config.run):
                last = arguments[-1]
                return last if last.endswith(".sock") else UNVERSIONED
    return None
