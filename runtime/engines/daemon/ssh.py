"""A daemon of another machine, spoken to through the user's own `ssh`: one process for each connection.

It runs `docker system dial-stdio` there, which joins its standard streams with the daemon's socket. Keys, hosts and
jumps are those of the user's ssh configuration. Source: docker/cli, cli/connhelper.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from runtime.errors import InvalidError
from runtime.kernel import threads

if TYPE_CHECKING:
    from aiohttp import BaseConnector
    from aiohttp.client import ClientTimeout
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

CONNECT_TIMEOUT_S: Final = 10  # of ssh itself
EXPLAIN_TIMEOUT_S: Final = 0.5  # for the end of the process whose connection was lost
END_TIMEOUT_S: Final = 2.0  # for a process whose connection is closed
MAX_WORDS_BYTES: Final = 4096  # of what ssh says when it fails
DIAL: Final = ("docker", "system", "dial-stdio")
OPTIONS: Final = (
    *("-o", f"ConnectTimeout={CONNECT_TIMEOUT_S}"),
    *("-o", "BatchMode=yes"),  # a question would be asked on the terminal that is drawn on
    "-T",
)


def command(url: str) -> tuple[str, ...]:
    """The words to run for "ssh://[user@]host[:port]". Raises `InvalidError` for an address that is another."""
    hint = "It must be ssh://[user@]host[:port]; a password or a key is for ssh's own configuration"
    try:
        parts = urlsplit(url)
        host, user, port = parts.hostname or "", parts.username or "", parts.port
    except ValueError as error:
        raise InvalidError(f"use '{url}' as an address for ssh", detail=str(error), hint=hint) from error
    foreign = parts.password is not None or parts.path.strip("/") or parts.query or parts.fragment
    if not host or foreign or host.startswith("-") or user.startswith("-"):  # `-` would be an option of ssh
        raise InvalidError(f"use '{url}' as an address for ssh", hint=hint)
    login = ("-l", user) if user else ()
    where = ("-p", str(port)) if port else ()
    return "ssh", *OPTIONS, *login, *where, "--", host, *DIAL


@dataclass(frozen=True, slots=True)
class _Tunnel:
    """A running ssh, and a file in memory with what it says."""

    process: subprocess.Popen[bytes]
    said: int

    def end(self) -> str:
        """Wait for the end, which the closed connection brings, and return its words. Blocking."""
        try:
            self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        try:
            return os.pread(self.said, MAX_WORDS_BYTES, 0).decode(errors="replace").strip()
        finally:
            os.close(self.said)


def _start(words: Sequence[str]) -> tuple[_Tunnel, socket.socket]:
    ours, theirs = socket.socketpair()
    said = os.memfd_create("ssh-stderr")
    try:
        with theirs:
            end = theirs.fileno()
            process = subprocess.Popen(words, stdin=end, stdout=end, stderr=said, start_new_session=True)
    except OSError:
        ours.close()
        os.close(said)
        raise
    ours.setblocking(False)
    return _Tunnel(process, said), ours


def _abandon(started: tuple[_Tunnel, socket.socket]) -> None:
    tunnel, ours = started
    ours.close()
    tunnel.end()


class Tunnels:
    """The processes of one client's connections."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)
        self._running: list[_Tunnel] = []

    async def open(self) -> socket.socket:
        """A new connection, which ends its process when it is closed."""
        await self._end([tunnel for tunnel in self._running if tunnel.process.poll() is not None])
        start = partial(_start, self._words)
        tunnel, ours = await threads.acquiring(start, _abandon, threads.Kind.WAIT)
        self._running.append(tunnel)
        return ours

    async def explain(self) -> str:
        """Why a connection was lost, in ssh's words; empty while every process goes on."""
        if self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await threads.waiting(self._running[-1].process.wait, EXPLAIN_TIMEOUT_S)
        return await self._end([tunnel for tunnel in self._running if tunnel.process.poll() is not None])

    async def close(self) -> None:
        """Wait for the end of all; their connections are closed."""
        await self._end(list(self._running))

    async def _end(self, ended: Sequence[_Tunnel]) -> str:
        """Let go of these; the last words of the last one."""
        self._running = [tunnel for tunnel in self._running if tunnel not in ended]
        words = [await threads.completing(tunnel.end) for tunnel in ended]
        lines = [line for said in words for line in said.splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""


def ssh_connector(tunnels: Tunnels) -> BaseConnector:
    """A connector whose every connection is a process of its own."""
    return _class()(tunnels)


@cache
def _class() -> Callable[[Tunnels], BaseConnector]:
    """The connector class, defined at first use: importing aiohttp takes 120 ms."""
    import aiohttp

    class SSHConnector(aiohttp.BaseConnector):
        def __init__(self, tunnels: Tunnels) -> None:
            super().__init__(limit=0)
            self._tunnels = tunnels

        async def _create_connection(
            self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout
        ) -> ResponseHandler:
            connected = await self._tunnels.open()
            _, handler = await self._loop.create_connection(self._factory, sock=connected)
            return handler

    return SSHConnector
