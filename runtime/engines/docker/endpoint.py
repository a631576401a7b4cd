"""Finds Docker's endpoint, in the order of its own client.

DOCKER_HOST; DOCKER_CONTEXT; currentContext of config.json (contexts/meta/<sha256 of the name>/meta.json); the socket in
/var/run; a rootless daemon's socket in XDG_RUNTIME_DIR.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from runtime.engines.daemon.endpoint import Endpoint
from runtime.errors import InvalidError

SYSTEM_SOCKET = Path("/var/run/docker.sock")
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
ROOT_UID = 0


def parse(url: str, origin: str, *, configured: bool = True) -> Endpoint:
    """Parse a URL. Raises `InvalidError` for one that cannot be used."""
    parts = urlsplit(url)
    fits = (parts.scheme == "unix" and parts.path.startswith("/")) or (
        parts.scheme in ("tcp", "http") and parts.hostname
    )
    if not fits:
        raise InvalidError(
            f"use '{url}' from {origin} as Docker's address",
            hint="It must be unix:///path or tcp://host:port; for ssh, forward the socket with ssh -L",
        )
    return Endpoint(url, origin, configured)


def endpoints(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> list[Endpoint]:
    """The endpoints to try, best first; a configured one is the only one. Raises `InvalidError`."""
    directory = Path(environ.get("DOCKER_CONFIG") or (home or Path.home()) / ".docker")
    if environ.get("DOCKER_HOST"):
        endpoint = parse(environ["DOCKER_HOST"], "DOCKER_HOST")
        if endpoint.socket is None and environ.get("DOCKER_TLS_VERIFY"):
            raise InvalidError(
                f"use '{endpoint.url}' from DOCKER_HOST as Docker's address",
                detail="DOCKER_TLS_VERIFY asks for TLS, which is not spoken here",
                hint="Forward the daemon's socket with ssh -L, and set DOCKER_HOST to it",
            )
        return [endpoint]
    context = environ.get("DOCKER_CONTEXT") or _current_context(directory)
    if context and context != "default":
        return [_of_context(directory, context)]
    guesses = [Endpoint(f"unix://{SYSTEM_SOCKET}", "the usual place", configured=False)]
    if environ.get("XDG_RUNTIME_DIR"):
        own = Path(environ["XDG_RUNTIME_DIR"]) / "docker.sock"
        guesses.append(Endpoint(f"unix://{own}", "XDG_RUNTIME_DIR", configured=False))
    return guesses


def is_of_this_machine(endpoint: Endpoint) -> bool:
    """Whether it is a rootful Docker of this machine, whose socket belongs to root."""
    if endpoint.socket is None:
        return urlsplit(endpoint.url).hostname in LOCAL_HOSTS
    try:
        return os.stat(endpoint.socket).st_uid == ROOT_UID
    except OSError:
        return False


def _current_context(directory: Path) -> str:
    try:
        document = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError):
        return ""
    current = document.get("currentContext") if isinstance(document, dict) else None
    return current if isinstance(current, str) else ""


def _of_context(directory: Path, name: str) -> Endpoint:
    path = directory / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
    try:
        url = json.loads(path.read_text())["Endpoints"]["docker"]["Host"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidError(
            f"use Docker's context '{name}'",
            detail="its description cannot be read",
            path=str(path),
            hint="`docker context ls` shows those that there are",
        ) from error
    return parse(str(url), f"context '{name}'")
