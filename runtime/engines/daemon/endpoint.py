"""The address of a daemon: a unix socket, or TCP with or without TLS."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from runtime.errors import InvalidError


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """What a daemon is spoken to with over TLS: PEM files, each None where there is none.

    `ca` vouches for the daemon, the system's authorities where it is None; `certificate` and `key` show who asks.
    With `verify` False anybody may answer.
    """

    ca: Path | None
    certificate: Path | None
    key: Path | None
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """Raises `InvalidError` for a file that cannot be used. Blocking."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ValueError) as error:
            files = ", ".join(str(path) for path in (self.ca, self.certificate, self.key) if path)
            raise InvalidError("speak TLS with a daemon", detail=str(error), path=files) from error
        if not self.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One daemon: a socket path, or host and port. `origin` says what named it; `configured`: no default socket.

    A path behind host and port is a prefix of every request's.
    """

    url: str
    origin: str
    configured: bool = True
    tls: TLSFiles | None = None

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
        return f"{'http' if self.tls is None else 'https'}://{parts.netloc}{parts.path.rstrip('/')}"


def identity(socket: Path) -> tuple[int, int] | str:
    """Device and inode of the socket, equal for all paths to it; the resolved path when stat(2) fails."""
    try:
        status = os.stat(socket)
    except OSError:
        return os.path.realpath(socket)
    return status.st_dev, status.st_ino
