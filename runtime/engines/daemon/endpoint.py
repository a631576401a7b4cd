"""The address of a daemon: a unix socket, TCP with or without TLS, or a machine that ssh goes to."""

from __future__ import annotations

import os
import pwd
import ssl
from collections.abc import Iterator
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
    """One daemon: a socket path, host and port, or what ssh is given.

    `origin` says what named it; `configured`: no default socket. A path behind host and port is a prefix of every
    request's.
    """

    url: str
    origin: str
    configured: bool = True
    tls: TLSFiles | None = None

    @property
    def socket(self) -> Path | None:
        """The path of a unix socket, None for TCP and ssh."""
        parts = urlsplit(self.url)
        return Path(parts.path) if parts.scheme == "unix" else None

    @property
    def ssh(self) -> bool:
        """It is reached by the user's own ssh."""
        return urlsplit(self.url).scheme == "ssh"

    @property
    def base(self) -> str:
        """The base URL of requests."""
        if self.socket is not None or self.ssh:
            return "http://localhost"
        parts = urlsplit(self.url)
        return f"{'http' if self.tls is None else 'https'}://{parts.netloc}{parts.path.rstrip('/')}"


def sockets_of_users(run: Path, name: str) -> Iterator[tuple[str, Path]]:
    """User and socket of each daemon that another user than root runs, below `run`/user.

    A symbolic link out of the user's directory, such as one to root's socket, is not that user's daemon.
    """
    for folder in sorted((run / "user").glob("*")):
        path = folder / name
        if folder.name != "0" and folder.name.isdecimal() and _is_inside(path, folder):
            yield user_name(folder.name), path


def user_name(uid: str) -> str:
    """The name of a user; the number of one that nobody has described."""
    try:
        return pwd.getpwuid(int(uid)).pw_name
    except (KeyError, ValueError, OverflowError):
        return uid


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        return path.exists() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a directory that may not be read, a loop of symbolic links
        return False


def identity(socket: Path) -> tuple[int, int] | str:
    """Device and inode of the socket, equal for all paths to it; the resolved path when stat(2) fails."""
    try:
        status = os.stat(socket)
    except OSError:
        return os.path.realpath(socket)
    return status.st_dev, status.st_ino
