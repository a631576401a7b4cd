"""Calls to containerd's gRPC API, each in one namespace; translates its errors to `PytopError`s.

One connection, opened at the first call and again after it was lost.
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
    """A client of one daemon. The `title` of a call is what an error says was tried."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._channel: Channel | None = None
        self._uids: set[int] = set()

    @property
    def peer(self) -> Peer:
        """The users as whom the daemon has answered so far."""
        return Peer(frozenset(self._uids))

    def close(self) -> None:
        """Close the connection."""
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
        """A request with one answer. `path` is "containers.v1.Containers/Get", below containerd.services."""
        with self._translated_errors(title):
            channel = await self._ready()
            method = UnaryUnaryMethod(channel, _full(path), type(request), answer)
            async with asyncio.timeout(timeout):
                message: M = await method(request, metadata=_metadata(namespace, lease))
                return message

    async def tell(
        self,
        path: str,
        request: Message,
        title: str,
        *,
        namespace: str = "",
        lease: str = "",
        timeout: float | None = None,
    ) -> None:
        """A request that changes something: its answer is empty, and comes when that is done, however long it takes.

        One that is told as failed because it takes long would be done all the same.
        """
        await self.call(path, request, Empty, title, namespace=namespace, lease=lease, timeout=timeout)

    async def stream(
        self, path: str, request: Message, answer: type[M], title: str, *, namespace: str = ""
    ) -> AsyncIterator[M]:
        """A request with a stream of answers. Close the iterator to end it early."""
        with self._translated_errors(title):
            channel = await self._ready()
            method = UnaryStreamMethod(channel, _full(path), type(request), answer)
            async with method.open(metadata=_metadata(namespace, "")) as stream:
                await stream.send_message(request, end=True)
                async for message in stream:
                    yield message

    async def upload(
        self, path: str, requests: Sequence[Message], answer: type[M], title: str, *, namespace: str, lease: str
    ) -> None:
        """A stream of requests, each answered before the next one is sent."""
        with self._translated_errors(title):
            channel = await self._ready()
            method: StreamStreamMethod[Message, M] = StreamStreamMethod(channel, _full(path), Message, answer)
            async with method.open(metadata=_metadata(namespace, lease)) as stream:
                for request in requests:  # the daemon resets a stream that the client does not end
                    await stream.send_message(request, end=request is requests[-1])
                    await stream.recv_message()

    async def _ready(self) -> Channel:
        if self._channel is None:
            self._channel = Channel(path=str(self.socket))
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            protocol = await self._channel.__connect__()
        self._uids.add(uid(protocol.connection._transport.get_extra_info("socket")))  # before the first request
        return self._channel

    @contextlib.contextmanager
    def _translated_errors(self, title: str) -> Iterator[None]:
        """Raise errors of the protocol as `PytopError`s."""
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
    metadata = {"containerd-namespace": namespace, "containerd-lease": lease}
    return {name: value for name, value in metadata.items() if value}


def _refused(title: str, error: GRPCError) -> PytopError:
    """Containerd's own message under our title."""
    words = (error.message or "").strip().removesuffix(": unknown")
    return _KINDS.get(error.status, EngineError)(title, detail=words or error.status.name.lower().replace("_", " "))
