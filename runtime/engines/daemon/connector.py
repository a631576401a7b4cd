"""aiohttp's connections to a unix socket, each asked for the user at its other end. Imports aiohttp: 120 ms."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import aiohttp

from runtime.engines.daemon import peer

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


class PeerConnector(aiohttp.UnixConnector):
    """Tells `seen` the peer's uid before a request is sent, so that no answer comes from somebody unknown."""

    def __init__(self, path: str, seen: Callable[[int], None]) -> None:
        super().__init__(path, limit=0)
        self._seen = seen

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
        connection = await super().connect(req, traces, timeout)
        if connection.transport is not None:  # None when it was lost this moment: then nothing is answered either
            self._seen(peer.uid(connection.transport.get_extra_info("socket")))
        return connection
