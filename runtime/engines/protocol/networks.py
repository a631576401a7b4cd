"""The facet of engines that keep networks.

Docker: /networks. Podman: /libpod/networks. containerd leaves networks to its clients (CNI).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network. `subnets` are in CIDR notation; `internal` has no way out of the host."""

    id: str
    name: str
    driver: str
    subnets: tuple[str, ...] = ()
    internal: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    created_ns: int | None = None  # wall clock


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """What to create; without `subnets` the engine chooses one that is free."""

    name: str
    driver: str = "bridge"
    subnets: tuple[str, ...] = ()
    internal: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


class Networks(Protocol):
    """Networks by id, unambiguous prefix of an id, or name; containers as in `Engine`."""

    async def networks(self) -> list[Network]: ...

    async def create_network(self, spec: NetworkSpec) -> Network:
        """Raises `ConflictError` for a name or a subnet that is taken, `InvalidError` for one that cannot be."""
        ...

    async def remove_network(self, network: str) -> None:
        """Raises `NotFoundError`; `ConflictError` while a container is connected to it."""
        ...

    async def connect(self, network: str, container: str, *, aliases: tuple[str, ...] = ()) -> None:
        """Connect a container, running or not; it is found under its name and `aliases` by the others.

        Raises `NotFoundError` for either, `ConflictError` when it is connected already.
        """
        ...

    async def disconnect(self, network: str, container: str) -> None:
        """Raises `NotFoundError` for either, and when it is not connected."""
        ...
