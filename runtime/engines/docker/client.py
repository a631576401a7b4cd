"""Docker's HTTP API: the version that is agreed on, and the errors that its answers stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from runtime.engines.daemon import http
from runtime.errors import ConflictError, EngineError, PytopError, UnavailableError

NEWEST_API: Final = (1, 52)
OLDEST_API: Final = (1, 41)
_STATE_CONFLICT: Final = re.compile(r"is (?:not|already) (?:paused|running)")


class DockerClient(http.DaemonClient):
    """Speaks to one daemon."""

    words = http.ErrorTexts(
        "Docker",
        away="Start it (systemctl start docker), or set DOCKER_HOST",
        denied="Run as root, or join the group docker and log in again",
    )

    def agree(self, headers: Mapping[str, str]) -> str:
        if "Libpod-Api-Version" in headers:  # in whose emulation of Docker an update does nothing
            raise UnavailableError(
                "use this Docker",
                detail="it is Podman, which is spoken to as itself",
                hint="Set CONTAINER_HOST to this address instead of DOCKER_HOST",
            )
        said = headers.get("Api-Version", "1.41")
        theirs = tuple(int(part) for part in said.split(".")[:2] if part.isdigit())
        if theirs < OLDEST_API:
            raise UnavailableError(
                "use this Docker",
                detail=f"it speaks API {said}, and {'.'.join(map(str, OLDEST_API))} is the least",
                hint="Docker 20.10 or later is needed",
            )
        return ".".join(map(str, min(NEWEST_API, theirs)))

    def path(self, version: str, path: str) -> str:
        return f"/v{version}{path}"

    def kind(self, status: int, words: str) -> type[PytopError]:
        found = super().kind(status, words)
        if found is EngineError and _STATE_CONFLICT.search(words):  # 20.10 says some conflicts with status 500
            return ConflictError
        return found
