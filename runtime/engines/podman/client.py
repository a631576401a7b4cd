"""Podman's libpod API: the version that is requested, and the errors that its answers stand for.

Requests name API version 4.0.0, which every Podman from 4.0 on serves with documents of one shape; the daemon's own
version, which says what it can do and what it does wrong, comes with the answer to a ping.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from runtime.engines.daemon import http
from runtime.errors import ConflictError, EngineError, InvalidError, NotFoundError, PytopError, UnavailableError

OLDEST_VERSION: Final = (4, 3)
API_VERSION: Final = "4.0.0"
_CONFLICT: Final = r"container state improper|already in use|is in use|is the infra container|already exists"
_MEANINGS: Final[Mapping[str, type[PytopError]]] = {
    _CONFLICT: ConflictError,
    r"image not known|no such (?:container|pod|image)": NotFoundError,
    r"invalid argument|invalid signal|names must match": InvalidError,
}


class PodmanClient(http.DaemonClient):
    """Speaks to one service."""

    words = http.ErrorTexts(
        "Podman",
        away="Start its API (systemctl start podman.socket, with --user for a rootless one), or set CONTAINER_HOST",
        denied="Run as root, or use a rootless Podman's own socket (systemctl --user start podman.socket)",
    )

    def agree(self, headers: Mapping[str, str]) -> str:
        said = headers.get("Libpod-Api-Version", "")
        if not said:
            what = headers.get("Server", "something else")
            raise UnavailableError("use this Podman", detail=f"{what} answers here, which is no Podman")
        if numbers(said) < OLDEST_VERSION:
            raise UnavailableError(
                "use this Podman", detail=f"it is version {said}", hint="Podman 4.3 or later is needed"
            )
        return said

    def path(self, version: str, path: str) -> str:
        return f"/v{API_VERSION}/libpod{path}"

    def kind(self, status: int, words: str) -> type[PytopError]:
        """By its words: Podman answers almost everything with status 500."""
        found = super().kind(status, words)
        if found is EngineError:
            return next((meaning for pattern, meaning in _MEANINGS.items() if re.search(pattern, words)), found)
        return found


def numbers(version: str) -> tuple[int, int]:
    """Major and minor of "5.8.0-dev"; (0, 0) for nonsense."""
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)
