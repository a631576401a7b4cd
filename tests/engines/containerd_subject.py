"""containerd for the conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runtime.engines.containerd.address import Address
from runtime.engines.containerd.engine import ContainerdEngine
from tests.containerdd import Containerdd
from tests.dockerd import busybox_rootfs
from tests.engines.subject import Subject

IMAGE = "docker.io/library/busybox:latest"


def engine_of(daemon: Containerdd, namespace: str | None = None) -> ContainerdEngine:
    """An engine on a private daemon, in the namespace of the tests unless another is named ("" for all)."""
    chosen = daemon.name if namespace is None else namespace
    return ContainerdEngine(Address(daemon.socket, "the test", chosen), top=daemon.folder / "logs")


@asynccontextmanager
async def containerd(daemon: Containerdd) -> AsyncIterator[Subject]:
    """An engine on a private daemon; the containers of a test are gone after it."""
    engine = engine_of(daemon)
    try:
        if not any(IMAGE in image.names for image in await engine.images()):
            await engine.import_image(IMAGE, busybox_rootfs())
        yield Subject(engine, "busybox:latest", daemon)
    finally:
        for container in await engine.containers():
            await engine.remove(container.ref.id, force=True)
        await engine.close()
