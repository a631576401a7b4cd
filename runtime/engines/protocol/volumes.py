"""The facet of engines that keep named volumes.

Docker: /volumes. Podman: /libpod/volumes. containerd has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from runtime.model import Missing


@dataclass(frozen=True, slots=True)
class Volume:
    """One named volume.

    `mountpoint` is the directory on the engine's host; `size` is in bytes, and `Missing.NOT_SAMPLED` where the engine
    does not measure it in a list.
    """

    name: str
    driver: str = "local"
    mountpoint: str = ""
    size: int | Missing = Missing.NOT_SAMPLED
    labels: Mapping[str, str] = field(default_factory=dict)
    created_ns: int | None = None  # wall clock


class Volumes(Protocol):
    """Volumes by name: they have no id."""

    async def volumes(self) -> list[Volume]: ...

    async def create_volume(self, name: str = "", *, labels: Mapping[str, str] | None = None) -> Volume:
        """An empty `name` lets the engine choose. Raises `ConflictError` for a name that is taken."""
        ...

    async def remove_volume(self, name: str) -> None:
        """Remove it with its data. Raises `NotFoundError`; `ConflictError` while a container has it."""
        ...
