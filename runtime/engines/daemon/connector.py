"""aiohttp connections to a unix socket, each checked for the user of the listening process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from runtime.engines.daemon import peer

if TYPE_CHECKING:
    from aiohttp import UnixConnector
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


def peer_connector(path: str, seen: Callable[[int], None]) -> UnixConnector:
    """A connector that calls `seen` with the peer's uid before a request is sent."""
    connector: UnixConnector = _class()(path, seen)
    return connector


@cache
def _class() -> Callable[[str, Callable[[int], None]], UnixConnector]:
    """The connector class, defined at first use: importing aiohttp takes 120 ms."""
    import aiohttp

    class PeerConnector(aiohttp.UnixConnector):
        def __init__(self, path: str, seen: Callable[[int], None]) -> None:
            super().__init__(path, limit=0)
            self._seen = seen

        async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
            connection = await super().connect(req, traces, timeout)
            if connection.transport is not None:  # None when the connection was just lost: then there is no answer
                self._seen(peer.uid(connection.transport.get_extra_info("socket")))
            return connection

    return PeerConnector
