"""Where containerds are to be found, in the words of their own client `ctr`, and whether they can be spoken to.

There may be several: Docker's, and one that k3s, RKE2 or MicroK8s bring along.

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
"""The usual places, by the keys of their engines."""
USUAL: Final = "the usual place"
NEEDED: Final = ("grpclib", "google.protobuf")


@dataclass(frozen=True, slots=True)
class Address:
    """One containerd.

    Attributes:
        socket: the path of its unix socket.
        origin: who named it.
        namespace: the one to show and to create in; "" for every one, and "default" to create in.
        snapshotter: where new containers get their root file system.
        hidden: namespaces that are not shown unless `namespace` names them.
        key: its engine's.
    """

    socket: Path
    origin: str
    namespace: str = ""
    snapshotter: str = "overlayfs"
    hidden: frozenset[str] = frozenset()
    key: str = KEY

    @property
    def configured(self) -> bool:
        """Somebody has named it."""
        return self.origin != USUAL

    @property
    def may_be_dockers(self) -> bool:
        """A rootful Docker uses the system's, or any that it was told to, but not one that Kubernetes brings along."""
        here = identity(self.socket)
        others = {identity(path) for key, path in SOCKETS.items() if key != KEY}
        return here == identity(SOCKETS[KEY]) or here not in others

    @property
    def denied(self) -> bool:
        """Its socket is there and may not be opened."""
        return os.path.exists(self.socket) and not os.access(self.socket, os.R_OK | os.W_OK)  # noqa: PTH110


def find(environ: Mapping[str, str] = os.environ) -> list[Address]:
    """The containerds to use: the configured one alone, even if it is dead, else each whose socket is there.

    Raises `InvalidError` for a configuration that makes no sense.
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
    found: dict[object, Address] = {}
    for key, socket in SOCKETS.items():
        if os.path.exists(socket):  # noqa: PTH110  (False where we may not look)
            found.setdefault(identity(socket), Address(socket, USUAL, namespace, snapshotter, key=key))
    return list(found.values())


def missing_dependency() -> PytopError | None:
    """Why containerd cannot be spoken to from this installation; None when the extra is there."""
    missing = [name for name in NEEDED if not _installed(name)]
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
    except ModuleNotFoundError:  # the package around it is not there either
        return False
