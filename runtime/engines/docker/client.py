"""Docker's HTTP API: the negotiated version, and the errors of its answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from runtime.engines.daemon import http
from runtime.errors import ConflictError, EngineError, PytopError, UnavailableError

MAX_API_VERSION: Final = (1, 55)
MIN_API_VERSION: Final = (1, 41)
DEVICE_LIMITS_VERSION: Final = (1, 55)
"""From which on an update takes the rates of block devices, and the weight on cgroup v2 too."""
_STATE_CONFLICT: Final = re.compile(r"is (?:not|already) (?:paused|running)")


class DockerClient(http.DaemonClient):
    """A client of one daemon."""

    words = http.ErrorTexts(
        "Docker",
        away="Start it (systemctl start docker), or set DOCKER_HOST",
        denied="Run as root, or join the group docker and log in again",
    )

    def agree(self, headers: Mapping[str, str]) -> str:
        if "Libpod-Api-Version" in headers:  # Podman's emulation of Docker, where an update does nothing
            raise UnavailableError(
                "use this Docker",
                detail="it is Podman, which is spoken to as itself",
                hint="Set CONTAINER_HOST to this address instead of DOCKER_HOST",
            )
        version = headers.get("Api-Version", "1.41")
        offered = _numbers(version)
        if offered < MIN_API_VERSION:
            raise UnavailableError(
                "use this Docker",
                detail=f"it speaks API {version}, and {'.'.join(map(str, MIN_API_VERSION))} is the least",
                hint="Docker 20.10 or later is needed",
            )
        return ".".join(map(str, min(MAX_API_VERSION, offered)))

    @property
    def takes_device_limits(self) -> bool:
        """Whether its update has the rates of block devices, by the version that was agreed on last."""
        return _numbers(self._version) >= DEVICE_LIMITS_VERSION

    def path(self, version: str, path: str) -> str:
        return f"/v{version}{path}"

    def kind(self, status: int, words: str) -> type[PytopError]:
        error = super().kind(status, words)
        if error is EngineError and _STATE_CONFLICT.search(words):  # 20.10 reports some conflicts with status 500
            return ConflictError
        return error


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
