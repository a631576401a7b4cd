"""Where the demo runs: an embedded engine of its own, or a running engine with an image that is imported for it.

`clear` removes everything that a stage created. It can be called at any time, from another process, and repeatedly.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Protocol

from runtime.engines.discovery import discover
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.images import host
from runtime.engines.protocol import Engine, required
from runtime.errors import InvalidError, NotFoundError, UnsupportedError
from runtime.kernel import block, threads
from runtime.model import Bind, LimitChange, Verb
from tui.demo import bounds
from tui.demo.scene import LABEL, Setting, remove_all
from tui.present.messages import Message, say

EMBEDDED = "embedded"


class Stage(Protocol):
    """Prepares an engine for the demo, and removes everything from it again."""

    @property
    def engine(self) -> Engine: ...

    async def prepare(self) -> Setting: ...

    def why_not_bound(self) -> str:
        """Why the demo's containers cannot be bounded together, "" where they can."""
        ...

    async def bound(self, room: LimitChange) -> None:
        """Bound all containers together, each limit beside what the engine's own processes have; lifts the others."""
        ...

    async def clear(self) -> None: ...


class OwnStage:
    """An embedded engine apart from the user's own: directories, cgroup, bridge and subnet of this run alone."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._config = EmbeddedConfig(
            state=Path("/var/lib/pytop-containers-demo") / instance,
            run=Path("/run/pytop-containers-demo") / instance,
            cgroup=f"pytop-demo-{instance}",
            bridge=f"pytd{instance}",
            subnet="10.214.0.0/24",
        )
        self._engine = EmbeddedEngine(self._config)

    @property
    def engine(self) -> Engine:
        return self._engine

    async def prepare(self) -> Setting:
        reason = (await self._engine.capabilities()).why_not(Verb.CREATE)
        if reason is not None:
            raise UnsupportedError(
                "run the demo on the embedded engine",
                detail=reason,
                hint="Run it as root (sudo make demo), or on Docker: make demo ARGS='--engine docker'",
            )
        device = await threads.waiting(disk_below, self._config.state)
        return Setting(image="host", instance=self._instance, device=device)

    def why_not_bound(self) -> str:
        return ""

    async def bound(self, room: LimitChange) -> None:
        await threads.acting(bounds.set_room, self._config.cgroup, room)

    async def clear(self) -> None:
        await threads.acting(bounds.lift, self._config.cgroup)  # what is removed may need tasks
        engine = EmbeddedEngine(self._config)  # the session may have closed its own
        try:
            await engine.destroy()
        finally:
            await engine.close()
        for directory in (self._config.state, self._config.run):
            with contextlib.suppress(OSError):  # another demo may be running
                directory.parent.rmdir()


class ImageStage:
    """A running engine that can import an image: the host's programs bound read-only over a generated skeleton."""

    def __init__(self, engine: Engine, instance: str) -> None:
        self._engine = engine
        self._instance = instance
        self._image = f"pytop-demo:{instance}"

    @property
    def engine(self) -> Engine:
        return self._engine

    async def prepare(self) -> Setting:
        capabilities = await self._engine.capabilities()
        for verb in (Verb.IMPORT, Verb.CREATE):
            reason = capabilities.why_not(verb)
            if reason is not None:
                raise UnsupportedError(f"run the demo on {self._engine.key}", detail=reason)
        key = self._engine.key
        images = required(self._engine.facets.images, key, f"run the demo on {key}", "images")
        layout = host.layout()
        await images.import_image(self._image, _archive(layout))
        binds = tuple(Bind(bind.source, bind.target, read_only=True) for bind in layout.binds)
        return Setting(self._image, binds, prefix="pytop-demo-", instance=self._instance)

    def why_not_bound(self) -> str:
        return say(Message.NO_SHARED_BOUND, engine=self._engine.key)

    async def bound(self, room: LimitChange) -> None:
        if room:
            raise UnsupportedError("bound the demo's containers together", detail=self.why_not_bound())

    async def clear(self) -> None:
        ours = [c.ref for c in await self._engine.containers() if c.labels.get(LABEL) == self._instance]
        await remove_all(self._engine, ours)
        images = self._engine.facets.images
        if images is not None:
            with contextlib.suppress(NotFoundError):
                await images.remove_image(self._image)


def open_stage(key: str, instance: str) -> Stage:
    """The stage for an engine's key; raises `InvalidError` for an engine that is not here."""
    if key == EMBEDDED:
        return OwnStage(instance)
    engines = {engine.key: engine for engine in discover()}
    if key not in engines:
        known = ", ".join(sorted({EMBEDDED, *engines}))
        raise InvalidError(f"run the demo on {key}", detail="no such engine is here", hint=f"There are: {known}")
    return ImageStage(engines[key], instance)


def disk_below(path: Path) -> str:
    """The whole disk, as "major:minor", that a directory or the nearest one above it is on; "" where there is none."""
    there = next(each for each in (path, *path.parents) if each.exists())
    number = os.stat(there).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    found = block.disks()
    if device in found.partitions:
        return next((number for number, name in found.names.items() if name == found.partitions[device]), "")
    return device if device in found.names else ""


def _archive(layout: host.ImageLayout) -> bytes:
    """The skeleton of the host image as a tar archive; each bind mount gets a mount point."""
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="pytop-demo-") as folder, tarfile.open(fileobj=buffer, mode="w") as archive:
        host.build(layout, Path(folder))
        archive.add(folder, ".")
    return buffer.getvalue()
