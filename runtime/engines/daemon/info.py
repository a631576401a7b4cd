"""A cache of a daemon's answer to /info about itself and its machine.

That request takes the daemon up to 0.1 s, and every change of a limit needs it. The fields that are used (number of
CPUs, cgroup version, controllers) are constant while a daemon runs. It is requested again after a connection was lost,
as at a restart during a request; when the engine's own info is requested; and after `INFO_MAX_AGE_S`, for a restart
between two requests. A stale answer only makes the check before a change too strict or too lax: the outcome is what
the kernel holds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from runtime.engines.daemon.http import DaemonClient

INFO_MAX_AGE_S: Final = 60.0


class InfoCache:
    """The cached answer to /info of one daemon."""

    def __init__(self, client: DaemonClient, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._document: Mapping[str, Any] = {}
        self._agreement = 0
        self._expires_s = 0.0  # monotonic

    async def get(self) -> Mapping[str, Any]:
        """The document; requested when there is none or it is too old."""
        await self._client.version()
        now = time.monotonic()
        if self._agreement != self._client.agreements or now >= self._expires_s:
            title = f"ask {self._client.words.name} what it can do"
            agreement = self._client.agreements
            self._document = await self._client.json("GET", "/info", title, timeout=self._timeout_s)
            self._agreement, self._expires_s = agreement, now + INFO_MAX_AGE_S
        return self._document
