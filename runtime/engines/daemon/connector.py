"""aiohttp's connections to a unix socket, each asked for the user at its other end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from runtime.engines.daemon import peer

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


def peer_connector(path: str, seen: Callable[[int], None]) -> aiohttp.UnixConnector:
    """Tells `seen` the peer's uid before a request is sent, so that every answer's sender is known."""
    import aiohttp  # 120 ms

    class PeerConnector(aiohttp.UnixConnector):
        async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
            connection = await super().connect(req, traces, timeout)
            if connection.transport is not None:  # None when it was lost this moment: then nothing is answered either
                seen(peer.uid(connection.transport.get_extra_info("socket")))
            return connection

    return PeerConnector(path, limit=0)
