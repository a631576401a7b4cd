"""The facet of engines that keep images."""

from __future__ import annotations

from typing import Protocol

from runtime.model import Image


class Images(Protocol):
    """Images by name.

    A name is what the engine's own client takes: "busybox", "registry.example/team/web:2.4". Each engine completes
    short names in its own way (Docker: docker.io/library, Podman: localhost), so a caller uses the names of `Image`.
    """

    async def images(self) -> list[Image]:
        """Every image from which a container can be created."""
        ...

    async def import_image(self, name: str, rootfs: bytes) -> Image:
        """Make an image of one layer from an uncompressed tar archive of a root file system (`docker import`).

        Raises `UnsupportedError` with the reason that `Capabilities` gives for `Verb.IMPORT`.
        """
        ...

    async def remove_image(self, name: str) -> None:
        """Remove a name, and the image with its last name. Raises `NotFoundError`, `ConflictError` while it is used."""
        ...
