"""What a container is created from and with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

from runtime.model.limits import NO_CHANGE, LimitChange
from runtime.model.values import Missing


@dataclass(frozen=True, slots=True)
class Image:
    """An image that a container can be created from; size in bytes where it is known."""

    id: str
    names: tuple[str, ...]
    size: int | Missing = Missing.UNSUPPORTED
    created_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Bind:
    """A host path shown inside the container."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What to create. An empty `name` lets the engine choose; an empty `command` takes the image's own.

    `storage_bytes` bounds what it may write in its root file system; 0 is no bound but the host's disk.
    """

    image: str
    command: tuple[str, ...] = ()
    name: str = ""
    _: KW_ONLY
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    user: str = ""
    hostname: str = ""
    network: str = "bridge"  # "bridge" or "none"
    binds: tuple[Bind, ...] = ()
    limits: LimitChange = NO_CHANGE
    restart_policy: str = "no"  # no, on-failure[:N], always, unless-stopped
    stop_signal: str = "SIGTERM"
    stop_timeout: float = 10.0
    read_only: bool = False
    auto_remove: bool = False
    storage_bytes: int = 0
