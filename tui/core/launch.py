"""One container from its creation to its end, by one engine: no other is asked, nothing is listed or measured.

`run` and `create` use it in place of a `Session`, which lists every engine's containers first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final, TypeVar

from runtime.engines.protocol import Engine
from runtime.model import ContainerSpec, LogLine, Verb
from tui.core import permissions

CLOSE_TIMEOUT_S: Final = 30.0
"""How long closing waits for a change that is under way."""

log = logging.getLogger(__name__)
T = TypeVar("T")


class Launch:
    """A change ends even if its caller is cancelled; `close` waits for it. `container_id` is "" until it is created."""

    def __init__(self, engine: Engine, *, read_only: bool = False) -> None:
        self._engine = engine
        self._read_only = read_only
        self._work: set[asyncio.Task[Any]] = set()
        self._name = "a container"
        self.container_id = ""

    @property
    def under_way(self) -> tuple[str, ...]:
        """What is being changed now, in words."""
        return tuple(sorted(task.get_name() for task in self._work))

    @property
    def boot_is_ours(self) -> bool:
        """The engine has no daemon that starts containers at boot: `boot` does."""
        return self._engine.facets.boot is not None

    async def create(self, spec: ContainerSpec) -> None:
        """Make the container. Raises the refusal where the engine cannot, or nothing may be changed."""
        self._name = spec.name or self._name
        title = f"create {self._name}"
        capabilities = await self._engine.capabilities()
        refusal = permissions.by_engine(title, Verb.CREATE, capabilities, read_only=self._read_only)
        if refusal is not None:
            raise refusal

        async def create() -> None:
            self.container_id = (await self._engine.create(spec)).id

        await self._to_its_end("create", create())

    async def start(self) -> None:
        await self._to_its_end("start", self._engine.start(self.container_id))

    async def stop(self) -> None:
        await self._to_its_end("stop", self._engine.stop(self.container_id))

    async def remove(self) -> None:
        """By force: it may run."""
        await self._to_its_end("remove", self._engine.remove(self.container_id, force=True))

    async def kill(self, signal: str) -> None:
        await self._to_its_end("kill", self._engine.kill(self.container_id, signal))

    def logs(self) -> AsyncIterator[LogLine]:
        """Its output until its end."""
        return self._engine.logs(self.container_id, follow=True)

    async def wait(self) -> int:
        """Its exit status, when it has ended."""
        return await self._engine.wait(self.container_id)

    async def close(self) -> None:
        """Wait for a change that is under way, and close the engine."""
        if self._work:
            await asyncio.wait(self._work, timeout=CLOSE_TIMEOUT_S)
        await self._engine.close()

    async def _to_its_end(self, verb: str, change: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(change, name=f"{verb} {self._name}")
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a change of a container, after its caller was cancelled", exc_info=error)
