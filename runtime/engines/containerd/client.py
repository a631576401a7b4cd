"""Calls to containerd's gRPC API, each in one of its namespaces, and its errors turned into ours.

One connection, made at the first call and made anew after the daemon was away.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpclib.client import Channel, StreamStreamMethod, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from runtime.engines.daemon.peer import Peer, uid
from runtime.errors import (
    ConflictError,
    DeniedError,
    EngineError,
    InvalidError,
    NotFoundError,
    PytopError,
    UnavailableError,
    UnsupportedError,
)

ANSWER_TIMEOUT_S: Final = 60.0
CONNECT_TIMEOUT_S: Final = 5.0
M = TypeVar("M", bound=Message)
_KINDS: Final[dict[Status, type[PytopError]]] = {
    Status.NOT_FOUND: NotFoundError,
    Status.ALREADY_EXISTS: ConflictError,
    Status.FAILED_PRECONDITION: ConflictError,
    Status.INVALID_ARGUMENT: InvalidError,
    Status.OUT_OF_RANGE: InvalidError,
    Status.PERMISSION_DENIED: DeniedError,
    Status.UNAUTHENTICATED: DeniedError,
    Status.UNIMPLEMENTED: UnsupportedError,
}


class ContainerdClient:
    """Speaks to one daemon. `title` of each call is what an error says was tried."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._channel: Channel | None = None
        self._uids: set[int] = set()

    @property
    def peer(self) -> Peer:
        """Who has answered since this object was made."""
        return Peer(frozenset(self._uids))

    def close(self) -> None:
        """Let go of the connection."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    async def call(
        self,
        path: str,
        request: Message,
        answer: type[M],
        title: str,
        *,
        namespace: str = "",
        lease: str = "",
        timeout: float | None = ANSWER_TIMEOUT_S,
    ) -> M:
        """One request, one answer. `path` is "containers.v1.Containers/Get", below containerd.services."""
        with self._told(title):
            channel = await self._ready()
            method = UnaryUnaryMethod(channel, _full(path), type(request), answer)
            async with asyncio.timeout(timeout):
                found: M = await method(request, metadata=_metadata(namespace, lease))
                return found

    async def tell(self, path: str, request: Message, title: str, *, namespace: str = "", lease: str = "") -> None:
        """One request whose answer is empty."""
        await self.call(path, request, Empty, title, namespace=namespace, lease=lease)

    async def stream(
        self, path: str, request: Message, answer: type[M], title: str, *, namespace: str = ""
    ) -> AsyncIterator[M]:
        """One request, answers until the daemon ends them. Close the iterator to leave early."""
        with self._told(title):
            channel = await self._ready()
            method = UnaryStreamMethod(channel, _full(path), type(request), answer)
            async with method.open(metadata=_metadata(namespace, "")) as stream:
                await stream.send_message(request, end=True)
                async for message in stream:
                    yield message

    async def upload(
        self, path: str, requests: Sequence[Message], answer: type[M], title: str, *, namespace: str, lease: str
    ) -> None:
        """Several requests, each answered before the next one is sent."""
        with self._told(title):
            channel = await self._ready()
            method: StreamStreamMethod[Message, M] = StreamStreamMethod(channel, _full(path), Message, answer)
            async with method.open(metadata=_metadata(namespace, lease)) as stream:
                for request in requests:  # the daemon resets a stream that is not ended with its last answer
                    await stream.send_message(request, end=request is requests[-1])
                    await stream.recv_message()

    async def _ready(self) -> Channel:
        if self._channel is None:
            self._channel = Channel(path=str(self.socket))
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            protocol = await self._channel.__connect__()
        self._uids.add(uid(protocol.connection._transport.get_extra_info("socket")))  # before anything is asked
        return self._channel

    @contextlib.contextmanager
    def _told(self, title: str) -> Iterator[None]:
        """Errors of the protocol as ours."""
        try:
            yield
        except GRPCError as error:
            raise _refused(title, error) from error
        except TimeoutError as error:
            raise UnavailableError(title, detail="containerd did not answer in time", path=str(self.socket)) from error
        except (StreamTerminatedError, ProtocolError, OSError) as error:
            raise self._unreachable(title, error) from error

    def _unreachable(self, title: str, error: Exception) -> PytopError:
        number = getattr(error, "errno", None)
        if number in (errno.EACCES, errno.EPERM):
            return DeniedError(
                title,
                detail="the socket may not be opened",
                path=str(self.socket),
                errno=number,
                hint="Run as root",
            )
        return UnavailableError(
            title,
            detail="containerd is not running or has gone away",
            path=str(self.socket),
            hint="Start it (systemctl start containerd), or set CONTAINERD_ADDRESS",
        )


def _full(path: str) -> str:
    return f"/containerd.services.{path}"


def _metadata(namespace: str, lease: str) -> dict[str, str]:
    found = {"containerd-namespace": namespace, "containerd-lease": lease}
    return {name: value for name, value in found.items() if value}


def _refused(title: str, error: GRPCError) -> PytopError:
    """Containerd's own words under our title."""
    words = (error.message or "").strip().removesuffix(": unknown")
    return _KINDS.get(error.status, EngineError)(title, detail=words or error.status.name.lower().replace("_", " "))
