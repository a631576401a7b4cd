"""What the clients of a fake engine share: its containers, what runs in them, its images, and their life."""

from __future__ import annotations

import asyncio
import hashlib
import signal as signals
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from runtime.errors import ConflictError, EngineError, NotFoundError
from runtime.kernel.signals import parse_signal
from runtime.limits import HostFacts
from runtime.model import (
    Container,
    ContainerRef,
    ContainerSpec,
    Event,
    EventKind,
    Image,
    LimitName,
    Limits,
    LogLine,
    Missing,
    State,
)
from tests import fake_limits
from tests.fake_program import IdleProgram, Launcher, Program

RESTART_DELAY_S: Final = 0.05
IMAGES: Final = ("host", "busybox:latest")
OUTPUT: Final = (b"first line", b"second line")
"""What a container that a test has put here has printed."""


@dataclass(slots=True)
class Life:
    """What is kept of one container beside what is listed."""

    spec: ContainerSpec
    lines: list[LogLine]
    recorded: Limits
    kernel: Limits
    program: Program | None = None
    stopped: bool = False  # somebody has asked for the end: no restart policy counts
    restarts: int = 0  # by its policy, since somebody has started it
    restarting: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # replaced whenever something has changed
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def tell(self) -> None:
        """Wake whoever waits for a line, a state or the end."""
        self.changed.set()
        self.changed = asyncio.Event()


class FakeStore:
    """Containers and their life.

    Attributes:
        containers: by ref, as they are listed now.
        images: by name.
        queues: one for each who follows the events.
        away: set while nobody can reach the engine.
    """

    def __init__(self, containers: Sequence[Container], machine: HostFacts, launcher: Launcher) -> None:
        self.containers: dict[ContainerRef, Container] = {c.ref: c for c in containers}
        self.images = {name: image(name, b"") for name in IMAGES}
        self.queues: list[asyncio.Queue[Event]] = []
        self.away = asyncio.Event()
        self.machine = machine
        self._launcher = launcher
        self._lives: dict[ContainerRef, Life] = {}

    def life(self, ref: ContainerRef) -> Life:
        if ref not in self._lives:
            lines = [LogLine("stdout", time.time_ns(), data) for data in OUTPUT]
            spec = ContainerSpec(self.containers[ref].image)
            self._lives[ref] = Life(spec, lines, Limits(), fake_limits.fresh(self.machine))
        return self._lives[ref]

    def known(self, ref: ContainerRef) -> Container:
        """As it is now, which is not as it was before something was waited for."""
        if ref not in self.containers:
            raise NotFoundError(f"there is no container {ref.short}")
        return self.containers[ref]

    def add(self, made: Container, spec: ContainerSpec, recorded: Limits) -> None:
        """A container that was created."""
        self._lives[made.ref] = Life(spec, [], recorded, recorded)
        self.put(made, EventKind.CREATED)

    def put(self, changed: Container, kind: EventKind) -> None:
        """Add or replace a container, and tell the followers."""
        self.containers[changed.ref] = changed
        self.tell(kind, changed.ref)

    def drop(self, ref: ContainerRef) -> None:
        """The container vanishes."""
        self.containers.pop(ref, None)
        self.tell(EventKind.REMOVED, ref)
        self._lives.pop(ref, None)

    def tell(self, kind: EventKind, ref: ContainerRef) -> None:
        for queue in self.queues:
            queue.put_nowait(Event(kind, ref, time.time_ns()))
        if ref in self._lives:
            self._lives[ref].tell()

    # the life of a container

    async def start(self, ref: ContainerRef) -> None:
        async with self.life(ref).lock:
            self.life(ref).restarts = 0
            await self._start(ref)

    async def _start(self, ref: ContainerRef) -> None:
        known, life = self.known(ref), self.life(ref)
        if known.state is State.PAUSED:
            raise ConflictError(f"start {known.name}", detail="it is paused")
        if known.state.live:
            return

        def say(stream: str, data: bytes, partial: bool) -> None:
            life.lines.append(LogLine(stream, time.time_ns(), data, partial))
            life.tell()

        try:
            life.program = await self._launcher(life.spec, say, lambda status: self._ended(ref, status))
        except OSError as error:
            words = f"{life.spec.command[0]}: {error.strerror}"
            self.put(replace(known, error=words), EventKind.UPDATED)
            raise EngineError(f"start {known.name}", detail=words) from error
        if ref not in self.containers:  # removed meanwhile
            life.program.signal(signals.SIGKILL)
            known = self.known(ref)
        life.stopped, life.kernel = False, self._kernel_at_start(life)
        running = replace(
            known,
            state=State.RUNNING,
            pid=life.program.pid,
            started_ns=time.time_ns(),
            finished_ns=None,
            exit_code=None,
            oom_killed=False,
            error="",
            restarts=life.restarts,
            last_exit_code=known.last_exit_code if known.state is State.RESTARTING else None,
        )
        self.put(running, EventKind.STARTED)

    def _kernel_at_start(self, life: Life) -> Limits:
        """The record's limits; one that is not recorded is not limited."""
        fresh = fake_limits.fresh(self.machine)
        held: dict[str, Any] = {name.value: life.recorded.get(name) for name in LimitName}
        return replace(fresh, **{name: value for name, value in held.items() if not isinstance(value, Missing)})

    def _ended(self, ref: ContainerRef, status: int) -> None:
        """The container's first process has ended."""
        if ref not in self.containers:
            return
        life = self.life(ref)
        life.program = None
        policy, _, most = self.containers[ref].restart_policy.partition(":")
        again = policy in ("always", "unless-stopped") or (
            policy == "on-failure" and status != 0 and (not most or life.restarts < int(most))
        )
        again = again and not life.stopped
        state = State.RESTARTING if again else State.EXITED
        codes = {"exit_code": None if again else status, "last_exit_code": status if again else None}
        ended = replace(self.containers[ref], state=state, pid=None, finished_ns=time.time_ns(), **codes)
        self.put(ended, EventKind.DIED)
        if again:
            life.restarts += 1
            life.restarting = asyncio.create_task(self._start_again(ref))
        elif life.spec.auto_remove:
            self.drop(ref)

    async def _start_again(self, ref: ContainerRef) -> None:
        await asyncio.sleep(RESTART_DELAY_S)
        async with self.life(ref).lock:
            if ref in self.containers and self.containers[ref].state is State.RESTARTING:
                await self._start(ref)

    async def stop(self, ref: ContainerRef, timeout: float | None) -> None:
        async with self.life(ref).lock:
            await self._stop(ref, timeout)

    async def _stop(self, ref: ContainerRef, timeout: float | None) -> None:
        known, life = self.known(ref), self.life(ref)
        life.stopped = True
        if known.state is State.RESTARTING:
            self.put(replace(known, state=State.EXITED), EventKind.UPDATED)
        if not known.state.live:
            return
        program = self._program(ref)
        program.signal(parse_signal(life.spec.stop_signal))
        program.signal(signals.SIGCONT)
        try:
            await asyncio.wait_for(self._end_of(ref, life), life.spec.stop_timeout if timeout is None else timeout)
        except TimeoutError:
            program.signal(signals.SIGKILL)
            await self._end_of(ref, life)

    async def _end_of(self, ref: ContainerRef, life: Life) -> None:
        while ref in self.containers and self.containers[ref].state.live:
            await life.changed.wait()

    async def restart(self, ref: ContainerRef, timeout: float | None) -> None:
        async with self.life(ref).lock:
            await self._stop(ref, timeout)
            await self._start(ref)

    def kill(self, ref: ContainerRef, number: int) -> None:
        known = self.known(ref)
        if not known.state.live:
            raise ConflictError(f"kill {known.name}", detail=f"it is {known.state.value}")
        self.life(ref).stopped |= number == signals.SIGKILL
        self._program(ref).signal(number)

    async def pause(self, ref: ContainerRef) -> None:
        await self._freeze(ref, State.RUNNING, State.PAUSED, EventKind.PAUSED, signals.SIGSTOP)

    async def unpause(self, ref: ContainerRef) -> None:
        await self._freeze(ref, State.PAUSED, State.RUNNING, EventKind.UNPAUSED, signals.SIGCONT)

    async def _freeze(self, ref: ContainerRef, before: State, after: State, kind: EventKind, number: int) -> None:
        async with self.life(ref).lock:
            known = self.known(ref)
            if known.state is not before:
                raise ConflictError(f"make {known.name} {after.value}", detail=f"it is {known.state.value}")
            self._program(ref).signal(number)
            self.put(replace(known, state=after), kind)

    async def remove(self, ref: ContainerRef, *, force: bool) -> None:
        known, life = self.known(ref), self.life(ref)
        if known.state.live and not force:
            raise ConflictError(f"remove {known.name}", detail="it is running")
        life.stopped = True
        if known.state.live:
            self._program(ref).signal(signals.SIGKILL)
            await self._end_of(ref, life)
        if ref in self.containers:
            self.drop(ref)

    def _program(self, ref: ContainerRef) -> Program:
        """What runs in a live container; in one that was put here nothing does, under its pid."""
        life = self.life(ref)
        if life.program is None:
            life.program = IdleProgram(lambda status: self._ended(ref, status), self.containers[ref].pid)
        return life.program


def image(name: str, rootfs: bytes) -> Image:
    digest = hashlib.sha256(name.encode() + rootfs).hexdigest()
    return Image(f"sha256:{digest}", (name,), size=len(rootfs), created_ns=time.time_ns())
