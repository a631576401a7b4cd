"""aiohttp's connections to a unix socket, each asked for the user at its other end."""

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
    """A connector that tells `seen` the peer's uid before a request is sent, so that nobody unknown is asked."""
    connector: UnixConnector = _class()(path, seen)
    return connector


@cache
def _class() -> Callable[[str, Callable[[int], None]], UnixConnector]:
    """The class, made when it is first needed: importing aiohttp takes 120 ms."""
    import aiohttp

    class PeerConnector(aiohttp.UnixConnector):
        def __init__(self, path: str, seen: Callable[[int], None]) -> None:
            super().__init__(path, limit=0)
            self._seen = seen

        async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
            connection = await super().connect(req, traces, timeout)
            if connection.transport is not None:  # None when it was lost this moment: then nothing is answered either
                self._seen(peer.uid(connection.transport.get_extra_info("socket")))
            return connection

    return PeerConnector
