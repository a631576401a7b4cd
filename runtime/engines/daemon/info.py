"""A cache of a daemon's answer to /info about itself and its machine.

That request takes the daemon up to 0.1 s, and every change of a limit needs it. The fields that are used (number of
CPUs, cgroup version, controllers) are constant while a daemon runs. It is requested again after a connection was lost,
as at a restart during a request; when the engine's own info is requested; and after `INFO_MAX_AGE_S`, for a restart
between two requests. A stale answer only makes the check before a change too strict or too lax: the outcome is what
the kernel holds.

A proxy may forbid that request, and a busy daemon may not answer it in time. The document is empty then, and the next
request is also `INFO_MAX_AGE_S` later.
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
        self._reason = ""
        self._agreement = 0
        self._expires_s = 0.0  # monotonic

    @property
    def reason(self) -> str:
        """Why nothing is known; "" when something is."""
        return self._reason

    async def get(self) -> Mapping[str, Any]:
        """The document, empty when the request failed; requested when there is none or it is too old."""
        await self._client.version()
        now = time.monotonic()
        if self._agreement != self._client.agreements or now >= self._expires_s:
            title = f"ask {self._client.words.name} what it can do"
            agreement = self._client.agreements
            self._document, self._reason = await self._client.optional("/info", title, timeout=self._timeout_s)
            if self._reason:  # the version was agreed on anew, to see whether the daemon is there
                agreement = self._client.agreements
            self._agreement, self._expires_s = agreement, now + INFO_MAX_AGE_S
        return self._document
