"""What a daemon says of itself and its machine at /info, kept for a while.

Such an answer costs the daemon up to a tenth of a second, and every change of a limit needs it. What is used of it
(number of CPUs, cgroup version, controllers) a daemon finds out when it starts. It is asked again after a connection
was lost, which every restart does to a request under way; when the engine is asked who it is; and after
`INFO_MAX_AGE_S`, for a restart between two requests. An answer that is too old makes a check before a change too strict
or too lax, no more: what was done is judged by the kernel.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from runtime.engines.daemon.http import DaemonClient

INFO_MAX_AGE_S: Final = 60.0


class InfoCache:
    """The answer to /info of one daemon."""

    def __init__(self, client: DaemonClient, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._document: Mapping[str, Any] = {}
        self._agreement = 0
        self._expires_s = 0.0  # monotonic

    async def get(self) -> Mapping[str, Any]:
        """The document; asked for when there is none that may be used."""
        await self._client.version()
        now = time.monotonic()
        if self._agreement != self._client.agreements or now >= self._expires_s:
            title = f"ask {self._client.words.name} what it can do"
            agreement = self._client.agreements
            self._document = await self._client.json("GET", "/info", title, timeout=self._timeout_s)
            self._agreement, self._expires_s = agreement, now + INFO_MAX_AGE_S
        return self._document
