"""Finds Podman's endpoints, in the order of its own client.

CONTAINER_HOST and CONTAINER_CONNECTION name the only one. Else there are the default sockets: the system's, the user's
own, and for root every other user's. Connections in Podman's configuration (podman-connections.json;
service_destinations of containers.conf) add other sockets. A socket is listed once, also with several paths: /var/run
is /run.

Source: podman(1), "ENVIRONMENT VARIABLES"; containers.conf(5); containers-config(5); podman-system-connection(1).
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runtime.engines.daemon.endpoint import Endpoint, identity, sockets_of_users
from runtime.errors import InvalidError

RUN = Path("/run")
SYSTEM = (Path("/usr/share/containers"), Path("/etc/containers"))


@dataclass(frozen=True, slots=True)
class Connection:
    """One Podman: the engine's key, and its endpoint or the reason why that cannot be used."""

    key: str
    endpoint: Endpoint | InvalidError


@dataclass(frozen=True, slots=True)
class _Named:
    """The connections of Podman's configuration, by name."""

    urls: Mapping[str, str]
    default: str


def parse(url: str, origin: str) -> Endpoint:
    """Parse a URL. Raises `InvalidError` for one that cannot be used."""
    parts = urlsplit(url)
    if parts.scheme == "unix" and (
        parts.netloc or parts.path.startswith("/")
    ):  # unix://run/podman.sock is accepted too
        path = f"/{parts.netloc}{parts.path}" if parts.netloc else parts.path
        return Endpoint(f"unix://{path}", origin)
    if parts.scheme in ("tcp", "http") and parts.hostname:
        return Endpoint(url, origin)
    hint = "It must be unix:///path or tcp://host:port"
    if parts.scheme == "ssh":
        there = parts.path or "/run/podman/podman.sock"
        hint = (
            "ssh is not spoken here: forward the socket"
            f" (ssh -NL /tmp/podman.sock:{there} {parts.hostname or 'HOST'})"
            " and set CONTAINER_HOST=unix:///tmp/podman.sock"
        )
    raise InvalidError(f"use '{url}' from {origin} as Podman's address", hint=hint)


def connections(
    environ: Mapping[str, str] = os.environ, home: Path | None = None, *, uid: int | None = None
) -> list[Connection]:
    """Every Podman of this host: first the user's own with the key "podman", then others with "podman-NAME".

    A configured one is the only one, even if it does not answer; default sockets are included if they exist.
    """
    home = home or Path(environ.get("HOME") or "/nonexistent")
    if environ.get("CONTAINER_HOST"):
        return [_connection("podman", environ["CONTAINER_HOST"], "CONTAINER_HOST")]
    uid = os.geteuid() if uid is None else uid
    name = environ.get("CONTAINER_CONNECTION")
    named = _configured(environ, home, uid)
    if name:
        url = named.urls.get(name)
        if url is None:
            error = InvalidError(
                f"use Podman's connection '{name}'",
                detail="CONTAINER_CONNECTION names it, and no configuration describes it",
                hint="`podman system connection list` shows those that there are",
            )
            return [Connection("podman", error)]
        return [_connection("podman", url, f"connection '{name}'")]
    sockets = list(_default_sockets(environ, uid))
    return _distinct([*sockets, *_others(named, sockets)])


def _connection(key: str, url: str, origin: str) -> Connection:
    try:
        return Connection(key, parse(url, origin))
    except InvalidError as error:
        return Connection(key, error)


def _default_sockets(environ: Mapping[str, str], uid: int) -> Iterator[Connection]:
    """The default sockets. The one that the user's own `podman` uses has the key "podman"."""
    system = RUN / "podman/podman.sock"
    own = Path(environ.get("XDG_RUNTIME_DIR") or RUN / f"user/{uid}") / "podman/podman.sock"
    if uid == 0:
        if _is_socket(system):
            yield _guess("podman", system, "the usual place")
        for user, path in sockets_of_users(RUN, "podman/podman.sock"):
            yield _guess(f"podman-{user}", path, f"{user}'s own")
        return
    if _is_socket(own):
        yield _guess("podman", own, "XDG_RUNTIME_DIR")
    if _is_socket(system):
        yield _guess("podman-root", system, "the usual place")


def _guess(key: str, path: Path, origin: str) -> Connection:
    return Connection(key, Endpoint(f"unix://{path}", origin, configured=False))


def _is_socket(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a directory that may not be read
        return False


def _others(named: _Named, sockets: list[Connection]) -> Iterator[Connection]:
    """Sockets on this machine that are only in the configuration.

    Connections to other machines are left out, since this is about one host. But without any local Podman the default
    connection is included, since `podman` itself would use it: as an endpoint, or as the reason why it cannot be used.
    """
    keys = {connection.key for connection in sockets}
    default = "" if sockets else named.default
    if default and default in named.urls:
        yield _connection("podman", named.urls[default], f"connection '{default}'")
    for name, url in sorted(named.urls.items()):
        key = f"podman-{name}"
        if key in keys:  # a user's Podman has the same key
            key = f"podman-connection-{name}"
        connection = _connection(key, url, f"connection '{name}'")
        socket = connection.endpoint.socket if isinstance(connection.endpoint, Endpoint) else None
        if name != default and socket is not None and _is_socket(socket):
            yield connection


def _distinct(connections: list[Connection]) -> list[Connection]:
    """The connections without those with the socket of an earlier one."""
    by_socket: dict[object, Connection] = {}
    for connection in connections:
        socket = connection.endpoint.socket if isinstance(connection.endpoint, Endpoint) else None
        by_socket.setdefault(identity(socket) if socket is not None else connection.key, connection)
    return list(by_socket.values())


def _configured(environ: Mapping[str, str], home: Path, uid: int) -> _Named:
    """The connections in the configuration files; one that cannot be read or parsed counts as empty."""
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers"
    urls: dict[str, str] = {}
    default = ""
    if environ.get("CONTAINERS_CONF"):
        files = [Path(environ["CONTAINERS_CONF"])]
    else:
        files = [path for folder in SYSTEM for path in (*_drop_ins(folder), *_of_user(folder, uid))]
        files += _drop_ins(config)
    if environ.get("CONTAINERS_CONF_OVERRIDE"):
        files.append(Path(environ["CONTAINERS_CONF_OVERRIDE"]))
    for path in files:
        engine = _toml(path).get("engine")
        if not isinstance(engine, dict):
            continue
        default = str(engine.get("active_service") or default)
        destinations = engine.get("service_destinations")
        for name, entry in (destinations if isinstance(destinations, dict) else {}).items():
            if isinstance(entry, dict) and isinstance(entry.get("uri"), str):
                urls[str(name)] = entry["uri"]
    document = _json(Path(environ.get("PODMAN_CONNECTIONS_CONF") or config / "podman-connections.json"))
    connection = document.get("Connection")
    if isinstance(connection, dict):
        default = str(connection.get("Default") or default)
        entries = connection.get("Connections")
        for name, entry in (entries if isinstance(entries, dict) else {}).items():
            if isinstance(entry, dict) and isinstance(entry.get("URI"), str):
                urls[str(name)] = entry["URI"]
    return _Named(urls, default)


def _drop_ins(folder: Path) -> list[Path]:
    return [folder / "containers.conf", *_parts(folder / "containers.conf.d")]


def _of_user(folder: Path, uid: int) -> list[Path]:
    """The files of a system directory that apply to rootful Podman, or to rootless Podman of this user."""
    if uid == 0:
        return _parts(folder / "containers.rootful.conf.d")
    rootless = folder / "containers.rootless.conf.d"
    return [folder / "containers.rootless.conf", *_parts(rootless), *_parts(rootless / str(uid))]


def _parts(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("*.conf"))
    except OSError:
        return []


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
