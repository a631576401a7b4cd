"""The address of a daemon: a unix socket or TCP."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One daemon: a socket path, or host and port. `origin` says what named it; `configured`: no default socket."""

    url: str
    origin: str
    configured: bool = True

    @property
    def socket(self) -> Path | None:
        """The path of a unix socket, None for TCP."""
        parts = urlsplit(self.url)
        return Path(parts.path) if parts.scheme == "unix" else None

    @property
    def base(self) -> str:
        """The base URL of requests."""
        if self.socket is not None:
            return "http://localhost"
        parts = urlsplit(self.url)
        return f"http://{parts.netloc}"


def identity(socket: Path) -> tuple[int, int] | str:
    """Device and inode of the socket, equal for all paths to it; the resolved path when stat(2) fails."""
    try:
        status = os.stat(socket)
    except OSError:
        return os.path.realpath(socket)
    return status.st_dev, status.st_ino
