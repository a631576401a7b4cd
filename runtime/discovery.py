"""Which engines are on this host.

Nothing here opens a connection: a socket that is there and dead is listed, and says so when it is asked.

The embedded engine can be pointed elsewhere, as tests, the demo and packagers need it, by the environment:

    PYTOP_STATE_DIR   what lasts             (/var/lib/pytop-containers)
    PYTOP_RUN_DIR     what a reboot clears   (/run/pytop-containers)
    PYTOP_CGROUP      its part of the cgroup tree  (pytop-containers)
    PYTOP_BRIDGE      its network bridge     (pytop0)
    PYTOP_SUBNET      the addresses on it    (10.213.0.0/16)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.docker import DockerEngine, Endpoint, endpoints
from runtime.engine import Engine
from runtime.errors import InvalidError
from runtime.native import NativeConfig, NativeEngine
from runtime.unusable import UnusableEngine

_SETTINGS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "PYTOP_STATE_DIR": ("state", Path),
    "PYTOP_RUN_DIR": ("run", Path),
    "PYTOP_CGROUP": ("cgroup", str),
    "PYTOP_BRIDGE": ("bridge", str),
    "PYTOP_SUBNET": ("subnet", str),
}


def discover(environ: Mapping[str, str] = os.environ, *, home: Path | None = None) -> list[Engine]:
    """The embedded engine, and Docker when its socket is there or somebody has configured it.

    The embedded engine is listed even where it cannot work: its capabilities say why not. Nobody is asked anything
    yet; a Docker whose configuration makes no sense says so when it is. Docker's configuration is looked for in
    `home`, the user's own by default.
    """
    found: list[Engine] = [NativeEngine(native_config(environ))]
    try:
        endpoint = docker_endpoint(environ, home or _home())
    except InvalidError as error:
        found.append(UnusableEngine("docker", error))
    else:
        if endpoint is not None:
            found.append(DockerEngine(endpoint))
    return found


def native_config(environ: Mapping[str, str]) -> NativeConfig:
    """Where the embedded engine keeps its things, by the environment."""
    given = {name: read(environ[key]) for key, (name, read) in _SETTINGS.items() if environ.get(key)}
    return replace(NativeConfig(), **given)


def docker_endpoint(environ: Mapping[str, str], home: Path | None = None) -> Endpoint | None:
    """The Docker to use: the configured one even if it is dead, else the first socket that is there.

    Raises `InvalidError` for a configuration that makes no sense.
    """
    for endpoint in endpoints(environ, home):
        if endpoint.configured or (endpoint.socket is not None and endpoint.socket.exists()):
            return endpoint
    return None


def _home() -> Path:
    """The user's home; a user id that nobody has described has none."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")
