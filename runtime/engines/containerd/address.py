"""Finds the sockets of containerd daemons by the variables of the client `ctr`, and checks that they can be used.

There may be several: Docker's, and one that k3s, RKE2 or MicroK8s install.

PYTOP_CONTAINERD_ADDRESS, CONTAINERD_ADDRESS   the one socket to use; the first one that is set counts
CONTAINERD_NAMESPACE                           the one namespace to show, and to create containers in
CONTAINERD_SNAPSHOTTER                         where new containers get their root file system (overlayfs)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from runtime.engines.daemon.endpoint import identity
from runtime.errors import InvalidError, PytopError, UnsupportedError

KEY: Final = "containerd"
DEFAULT_NAMESPACE: Final = "default"
DOCKER_NAMESPACE: Final = "moby"
"""The namespace in which Docker keeps its containers."""
SOCKETS: Final[Mapping[str, Path]] = {
    KEY: Path("/run/containerd/containerd.sock"),
    f"{KEY}-k3s": Path("/run/k3s/containerd/containerd.sock"),  # RKE2's too
    f"{KEY}-microk8s": Path("/var/snap/microk8s/common/run/containerd.sock"),
}
"""The default sockets by engine key."""
DEFAULT_ORIGIN: Final = "the usual place"
REQUIRED_MODULES: Final = ("grpclib", "google.protobuf")


@dataclass(frozen=True, slots=True)
class Address:
    """One containerd.

    Attributes:
        socket: the path of its unix socket.
        origin: what named it: a variable, or the default sockets.
        namespace: the one to list and to create in; "" lists all of them and creates in "default".
        snapshotter: the one that makes root file systems of new containers.
        hidden: namespaces that are not listed unless `namespace` names them.
        key: the engine's key.
    """

    socket: Path
    origin: str
    namespace: str = ""
    snapshotter: str = "overlayfs"
    hidden: frozenset[str] = frozenset()
    key: str = KEY

    @property
    def configured(self) -> bool:
        """Whether it is configured, rather than a default socket."""
        return self.origin != DEFAULT_ORIGIN

    @property
    def may_be_dockers(self) -> bool:
        """Whether a rootful Docker may use it: the system's or a configured one, but not one of Kubernetes."""
        here = identity(self.socket)
        others = {identity(path) for key, path in SOCKETS.items() if key != KEY}
        return here == identity(SOCKETS[KEY]) or here not in others

    @property
    def denied(self) -> bool:
        """Whether its socket exists and may not be opened."""
        return os.path.exists(self.socket) and not os.access(self.socket, os.R_OK | os.W_OK)  # noqa: PTH110


def find(environ: Mapping[str, str] = os.environ) -> list[Address]:
    """The daemons to use: only the configured one, even if it does not answer, else each default socket that exists.

    Raises `InvalidError` for an invalid configuration.
    """
    namespace = environ.get("CONTAINERD_NAMESPACE", "")
    snapshotter = environ.get("CONTAINERD_SNAPSHOTTER") or "overlayfs"
    for name in ("PYTOP_CONTAINERD_ADDRESS", "CONTAINERD_ADDRESS"):
        if environ.get(name):
            path = environ[name].removeprefix("unix://")
            if not path.startswith("/"):
                raise InvalidError(
                    f"use '{environ[name]}' from {name} as containerd's address",
                    hint="It must be the path of its socket, such as /run/containerd/containerd.sock",
                )
            return [Address(Path(path), name, namespace, snapshotter)]
    by_socket: dict[object, Address] = {}
    for key, socket in SOCKETS.items():
        if os.path.exists(socket):  # noqa: PTH110  (False where we may not look)
            by_socket.setdefault(identity(socket), Address(socket, DEFAULT_ORIGIN, namespace, snapshotter, key=key))
    return list(by_socket.values())


def missing_dependency() -> PytopError | None:
    """Why this installation cannot connect to containerd; None when the extra is installed."""
    missing = [name for name in REQUIRED_MODULES if not _installed(name)]
    if not missing:
        return None
    return UnsupportedError(
        "show containerd's containers",
        detail=f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed",
        hint="pip install 'pytop-containers[containerd]'",
    )


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False
