"""Podman for the conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.podman.engine import PodmanEngine
from runtime.model import GroupKind
from tests.engines.subject import Subject
from tests.podmand import Podmand


@asynccontextmanager
async def podman(daemon: Podmand) -> AsyncIterator[Subject]:
    """An engine on a private service; the containers and pods of a test are gone after it."""
    engine = PodmanEngine(Endpoint(daemon.url, "the test"))
    try:
        yield Subject(engine, "busybox:latest", daemon)
    finally:
        for container in await engine.containers():
            if container.group is None or container.group.kind is not GroupKind.POD:
                await engine.remove(container.ref.id, force=True)
        await engine.close()
