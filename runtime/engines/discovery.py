"""Which engines are on this host.

Nothing here opens a connection: a socket that is there and dead is listed, and says so when it is asked.

The embedded engine can be pointed elsewhere, as tests, the demo and packagers need it, by the environment:

    PYTOP_STATE_DIR   what lasts             (/var/lib/pytop-containers)
    PYTOP_RUN_DIR     what a reboot clears   (/run/pytop-containers)
    PYTOP_CGROUP      its part of the cgroup tree  (pytop-containers)
    PYTOP_BRIDGE      its network bridge     (pytop0)
    PYTOP_SUBNET      the addresses on it    (10.213.0.0/16)

What runs without any engine is found by the one called "found" (`runtime.engines.found`):

    PYTOP_FOUND=0     switches it off, as tests do that must not see other people's containers
    PYTOP_SERVICES=1  lists systemd's services too

Where the others are is said in their own words: see `runtime.engines.docker.endpoint`,
`runtime.engines.podman.endpoint` and `runtime.engines.containerd.address`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from runtime.engines.containerd import address as containerd
from runtime.engines.daemon.endpoint import Endpoint, identity
from runtime.engines.docker.endpoint import endpoints, endpoints_of_users, is_of_this_machine
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.podman.endpoint import Connection, connections
from runtime.engines.protocol import Engine
from runtime.engines.unusable import UnusableEngine
from runtime.errors import InvalidError

ENGINES: Final[Mapping[str, tuple[str, str]]] = {
    "embedded": ("runtime.engines.embedded.engine", "EmbeddedEngine"),
    "docker": ("runtime.engines.docker.engine", "DockerEngine"),
    "podman": ("runtime.engines.podman.engine", "PodmanEngine"),
    "containerd": ("runtime.engines.containerd.engine", "ContainerdEngine"),
    "found": ("runtime.engines.found.engine", "FoundEngine"),
}
"""Module and class by kind of engine. A kind is imported only when there is an engine of it on this host."""
_SETTINGS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "PYTOP_STATE_DIR": ("state", Path),
    "PYTOP_RUN_DIR": ("run", Path),
    "PYTOP_CGROUP": ("cgroup", str),
    "PYTOP_BRIDGE": ("bridge", str),
    "PYTOP_SUBNET": ("subnet", str),
}


def discover(environ: Mapping[str, str] = os.environ, *, home: Path | None = None) -> list[Engine]:
    """The embedded engine, the others that are here, and what can be found without any of them.

    Docker, every Podman and every containerd are here when a socket is there or somebody has configured one.

    The embedded engine is listed even where it cannot work: its capabilities say why not. Nobody is asked anything
    yet; an engine whose configuration makes no sense says so when it is. Configuration is looked for in `home`, the
    user's own by default.
    """
    return list(each_engine(environ, home=home))


def each_engine(environ: Mapping[str, str] = os.environ, *, home: Path | None = None) -> Iterator[Engine]:
    """What `discover` returns, one after another; the module of an engine is loaded when its turn comes."""
    home = home or _home()
    yield _engine("embedded", embedded_config(environ))
    podmans = connections(environ, home)
    shown: Endpoint | None = None
    beside_docker = True
    try:
        endpoint = docker_endpoint(environ, home)
    except InvalidError as error:
        yield UnusableEngine("docker", error)
    else:
        beside_docker = endpoint is not None and not _is_podman(endpoint, podmans)
        if endpoint is not None and beside_docker:
            shown = endpoint
            yield _engine("docker", endpoint)
        for user, rootless in endpoints_of_users(environ, home).items():
            known = [each for each in (shown,) if each is not None and each.socket is not None]
            if not _is_podman(rootless, podmans) and rootless.socket not in [each.socket for each in known]:
                yield _engine("docker", rootless, key=f"docker-{user}")
    for place in podmans:
        if isinstance(place.endpoint, InvalidError):
            yield UnusableEngine(place.key, place.endpoint)
        else:
            yield _engine("podman", place.endpoint, key=place.key)
    yield from _containerds(environ, shown, beside_docker=beside_docker)
    if environ.get("PYTOP_FOUND") != "0":
        yield _engine("found", services=environ.get("PYTOP_SERVICES") == "1")


def _engine(kind: str, *args: Any, **options: Any) -> Engine:
    """An engine of this kind, whose module is loaded now."""
    module, name = ENGINES[kind]
    engine: Engine = getattr(importlib.import_module(module), name)(*args, **options)
    return engine


def _containerds(environ: Mapping[str, str], docker: Endpoint | None, *, beside_docker: bool) -> Iterator[Engine]:
    """Each containerd; Docker's own namespace is left out of the one that the Docker uses which is shown.

    Beside Docker the system's containerd is mostly Docker's own: when nobody has named it and it cannot be used (not
    root, no gRPC installed), only `doctor` tells of it.
    """
    try:
        addresses = containerd.find(environ)
    except InvalidError as error:
        yield UnusableEngine(containerd.KEY, error)
        return
    reason = containerd.missing_dependency()
    for address in addresses:
        quiet = beside_docker and not address.configured and address.may_be_dockers
        if quiet and (reason is not None or address.denied):
            continue
        if reason is not None:
            yield UnusableEngine(address.key, reason)
            continue
        dockers = docker is not None and is_of_this_machine(docker) and address.may_be_dockers
        yield _engine(
            "containerd", replace(address, hidden=frozenset({containerd.DOCKER_NAMESPACE}) if dockers else frozenset())
        )


def _is_podman(endpoint: Endpoint, podmans: Sequence[Connection]) -> bool:
    """Docker's address leads to a Podman that is listed as itself, as the package podman-docker arranges it."""
    where = endpoint.socket
    others = [place.endpoint.socket for place in podmans if isinstance(place.endpoint, Endpoint)]
    return where is not None and identity(where) in {identity(path) for path in others if path}


def embedded_config(environ: Mapping[str, str]) -> EmbeddedConfig:
    """Where the embedded engine keeps its things, by the environment."""
    given = {name: read(environ[key]) for key, (name, read) in _SETTINGS.items() if environ.get(key)}
    return replace(EmbeddedConfig(), **given)


def docker_endpoint(environ: Mapping[str, str], home: Path | None = None) -> Endpoint | None:
    """The Docker to use: the configured one even if it is dead, else the first socket that is there.

    Raises `InvalidError` for a configuration that makes no sense.
    """
    for endpoint in endpoints(environ, home):
        if endpoint.configured or (endpoint.socket is not None and os.path.exists(endpoint.socket)):  # noqa: PTH110  (False where we may not look)
            return endpoint
    return None


def _home() -> Path:
    """The user's home; a user id that nobody has described has none."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")
