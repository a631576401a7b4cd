"""Finds Docker's endpoint, in the order of its own client.

DOCKER_HOST; DOCKER_CONTEXT; currentContext of config.json (contexts/meta/<sha256 of the name>/meta.json); the socket in
/var/run; a rootless daemon's socket in XDG_RUNTIME_DIR.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from runtime.engines.daemon import ssh
from runtime.engines.daemon.endpoint import Endpoint, TLSFiles, sockets_of_users
from runtime.errors import InvalidError

RUN = Path("/run")
SYSTEM_SOCKET = Path("/var/run/docker.sock")
DEFAULT_PORT = 2375  # of TCP, also with TLS, where the address names none
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
ROOT_UID = 0


def parse(address: str, origin: str, *, configured: bool = True, tls: TLSFiles | None = None) -> Endpoint:
    """Where an address leads, as Docker's own client takes it. Raises `InvalidError` for what cannot be spoken to.

    Without a scheme it is TCP, without a host the local one, without a port `DEFAULT_PORT`; `unix://` is the usual
    socket. Source: docker/cli, opts/hosts.go.
    """
    scheme, separator, rest = address.strip().partition("://")
    if not separator:
        scheme, rest = "tcp", scheme
    if scheme == "unix":
        path = rest or str(SYSTEM_SOCKET)
        if path.startswith("/"):
            return Endpoint(f"unix://{path}", origin, configured)
    elif scheme in ("tcp", "http", "https"):
        with contextlib.suppress(ValueError):  # a port that is no number
            parts = urlsplit(f"//{rest}")
            host, port = parts.hostname or "localhost", parts.port or DEFAULT_PORT
            name = f"[{host}]" if ":" in host else host
            if scheme == "https" and tls is None:
                tls = TLSFiles(None, None, None)
            return Endpoint(f"tcp://{name}:{port}{parts.path}", origin, configured, tls)
    elif scheme == "ssh":
        try:
            ssh.command(address.strip())  # ssh would take some addresses as something else
        except InvalidError as error:
            raise InvalidError(f"use '{address}' from {origin} as Docker's address", hint=error.hint) from error
        return Endpoint(address.strip(), origin, configured)
    raise InvalidError(
        f"use '{address}' from {origin} as Docker's address",
        hint="It must be unix:///path, tcp://host:port or ssh://user@host",
    )


def _tls_files(folder: Path, *, verify: bool) -> TLSFiles:
    """Docker's names for them; those that are not there are left out, as its own client does."""
    ca, certificate, key = (
        path if (path := folder / f"{name}.pem").exists() else None for name in ("ca", "cert", "key")
    )
    return TLSFiles(ca, certificate, key, verify)


def endpoints(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> list[Endpoint]:
    """The endpoints to try, best first; a configured one is the only one. Raises `InvalidError`."""
    directory = Path(environ.get("DOCKER_CONFIG") or (home or Path.home()) / ".docker")
    if environ.get("DOCKER_HOST"):
        files = Path(environ.get("DOCKER_CERT_PATH") or directory)
        verify = bool(environ.get("DOCKER_TLS_VERIFY"))
        tls = _tls_files(files, verify=verify) if verify or environ.get("DOCKER_TLS") else None
        return [parse(environ["DOCKER_HOST"], "DOCKER_HOST", tls=tls)]
    context = environ.get("DOCKER_CONTEXT") or _current_context(directory)
    if context and context != "default":
        return [_of_context(directory, context)]
    guesses = [Endpoint(f"unix://{SYSTEM_SOCKET}", "the usual place", configured=False)]
    if environ.get("XDG_RUNTIME_DIR"):
        own = Path(environ["XDG_RUNTIME_DIR"]) / "docker.sock"
        guesses.append(Endpoint(f"unix://{own}", "XDG_RUNTIME_DIR", configured=False))
    return guesses


def endpoints_of_users(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> Mapping[str, Endpoint]:
    """For root, the rootless Docker of each other user, by the user's name; none where one Docker was configured."""
    if os.geteuid() != ROOT_UID or any(each.configured for each in endpoints(environ, home)):
        return {}
    return {
        user: Endpoint(f"unix://{path}", f"{user}'s own", configured=False)
        for user, path in sockets_of_users(RUN, "docker.sock")
    }


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
    digest = hashlib.sha256(name.encode()).hexdigest()
    path = directory / "contexts" / "meta" / digest / "meta.json"
    try:
        document = json.loads(path.read_text())["Endpoints"]["docker"]
        url, verify = str(document["Host"]), not document.get("SkipTLSVerify")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidError(
            f"use Docker's context '{name}'",
            detail="its description cannot be read",
            path=str(path),
            hint="`docker context ls` shows those that there are",
        ) from error
    files = _tls_files(directory / "contexts" / "tls" / digest / "docker", verify=verify)
    uses_tls = not verify or files.ca is not None or files.certificate is not None
    return parse(url, f"context '{name}'", tls=files if uses_tls else None)
