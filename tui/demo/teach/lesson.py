"""What the chapters share: the words of what is shown, and one container that is made, measured and removed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from collectors.sampling.frame import Usage
from collectors.sampling.sweep import Sweeper
from collectors.sampling.target import Target
from runtime.engines.protocol import Engine
from runtime.errors import PytopError, UnsupportedError
from runtime.kernel import threads
from runtime.model import Container, ContainerRef, LimitChange, LimitName, Verb
from tui.demo.scene import Setting, container_spec, remove_all
from tui.demo.stories import StoryMember

SAMPLE_INTERVAL_S = 0.5
FIRST_LINE_TIMEOUT_S = 20.0
CHAPTER_TIMEOUT_S = 110.0  # of a chapter with all that it makes


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is shown: `id` has its words in `tui.present.teach_text`; on the host, and in the container."""

    id: str
    host: str
    inside: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One point of a chapter's graph: seconds since the chapter's start, what was measured, its limit if there is one.

    Bytes or cores, as the chapter says.
    """

    at_s: float
    value: float
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """What happens now; `id` has its words in `tui.present.teach_text`."""

    id: str


Shown = Fact | Reading | Remark


@dataclass(slots=True)
class Lesson:
    """An engine and its setting; `container` is the one that a chapter has made."""

    engine: Engine
    setting: Setting
    start_s: float = field(default_factory=time.monotonic)

    async def require(self, *needed: Verb | LimitName) -> None:
        """Raise `UnsupportedError` with the reason where one of these cannot be done here."""
        capabilities = await self.engine.capabilities()
        for what in needed:
            reason = capabilities.why_not(what)
            if reason is not None:
                raise UnsupportedError(f"show '{what}'", detail=reason)

    @contextlib.asynccontextmanager
    async def running(self, program: str, *arguments: str, limits: LimitChange = LimitChange()) -> AsyncIterator[Pupil]:  # noqa: B008
        """A container that runs a program of the demo; it is removed at the end."""
        member = StoryMember("lesson", program, arguments)
        ref = await self.engine.create(container_spec(self.setting, member, arguments, limits))
        try:
            begin = time.monotonic()
            await self.engine.start(ref.id)
            pupil = Pupil(self.engine, ref, await self.engine.get(ref.id), time.monotonic() - begin)
            try:
                yield pupil
            finally:
                await threads.measuring(pupil.sweeper.close)
        finally:
            await remove_all(self.engine, (ref,))


@dataclass(slots=True)
class Pupil:
    """A running container of a lesson; `started_s` is how long its start took."""

    engine: Engine
    ref: ContainerRef
    container: Container
    started_s: float
    sweeper: Sweeper = field(default_factory=Sweeper)

    @property
    def pid(self) -> int:
        """The host's pid of its first process."""
        if self.container.pid is None:
            raise PytopError("look into the container", detail=f"it is {self.container.state}")
        return self.container.pid

    async def state(self) -> Container:
        """What the engine says now."""
        return await self.engine.get(self.ref.id)

    async def usage(self) -> Usage | None:
        """Measure it, since the time before; None when it has ended."""
        target = Target(self.ref, self.pid, self.container.cgroup)
        return (await threads.measuring(self.sweeper.sweep, [target])).usages.get(self.ref)

    async def first_line(self) -> dict[str, Any]:
        """The first line that it prints, which is JSON."""
        async with asyncio.timeout(FIRST_LINE_TIMEOUT_S):
            pending = b""
            async for line in self.engine.logs(self.ref.id, follow=True):
                pending += line.data
                if not line.partial:
                    found: dict[str, Any] = json.loads(pending)
                    return found
        raise PytopError("look into the container", detail="it has printed nothing")
