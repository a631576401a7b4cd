"""Podman's libpod API: the requested version, and the errors of its answers.

Requests use API version 4.0.0, which every Podman from 4.0 on serves with the same documents. The daemon's own version,
on which its abilities and faults depend, is in the answer to a ping.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from runtime.engines.daemon import http
from runtime.errors import ConflictError, EngineError, InvalidError, NotFoundError, PytopError, UnavailableError

MIN_VERSION: Final = (4, 3)
API_VERSION: Final = "4.0.0"
_CONFLICT: Final = r"container state improper|already in use|is in use|is the infra container|already exists"
_MEANINGS: Final[Mapping[str, type[PytopError]]] = {
    _CONFLICT: ConflictError,
    r"image not known|no such (?:container|pod|image)": NotFoundError,
    r"invalid argument|invalid signal|names must match": InvalidError,
}


class PodmanClient(http.DaemonClient):
    """A client of one service."""

    words = http.ErrorTexts(
        "Podman",
        away="Start its API (systemctl start podman.socket, with --user for a rootless one), or set CONTAINER_HOST",
        denied="Run as root, or use a rootless Podman's own socket (systemctl --user start podman.socket)",
    )

    def agree(self, headers: Mapping[str, str]) -> str:
        version = headers.get("Libpod-Api-Version", "")
        if not version:
            what = headers.get("Server", "something else")
            raise UnavailableError("use this Podman", detail=f"{what} answers here, which is no Podman")
        if numbers(version) < MIN_VERSION:
            raise UnavailableError(
                "use this Podman", detail=f"it is version {version}", hint="Podman 4.3 or later is needed"
            )
        return version

    def path(self, version: str, path: str) -> str:
        return f"/v{API_VERSION}/libpod{path}"

    def kind(self, status: int, words: str) -> type[PytopError]:
        """The error by its message: Podman answers almost everything with status 500."""
        error = super().kind(status, words)
        if error is EngineError:
            return next((meaning for pattern, meaning in _MEANINGS.items() if re.search(pattern, words)), error)
        return error


def numbers(version: str) -> tuple[int, int]:
    """Major and minor of "5.8.0-dev"; (0, 0) when malformed."""
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)
