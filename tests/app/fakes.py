"""An engine in memory and scripted sweeps, for the whole app on a real `Session` without a kernel behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from collectors.sampling.frame import Frame, HostUsage, IoRates, NetRates, Pressure, Usage
from collectors.sampling.target import Target
from runtime.engines.protocol import Facets
from runtime.errors import ConflictError, NotFoundError, PytopError, UnavailableError
from runtime.model import (
    UNLIMITED,
    Capabilities,
    Container,
    ContainerRef,
    ContainerSpec,
    EngineInfo,
    Event,
    EventKind,
    Image,
    LimitChange,
    LimitOutcome,
    Limits,
    LogLine,
    Missing,
    State,
    Verb,
)

NOW_NS = time.time_ns()
DAY_NS = 86_400 * 10**9


def container(name: str, *, engine: str = "fake", state: State = State.RUNNING, **more: Any) -> Container:
    """A container; its id and pid come from its name, it started three days ago."""
    digest = f"{sum(ord(c) * 31**i for i, c in enumerate(name)) % 16**12:012x}".ljust(64, "0")
    known = {
        "image": "busybox:1.36",
        "pid": 1000 + int(digest[:6], 16) % 30_000 if state.live else None,
        "started_ns": NOW_NS - 3 * DAY_NS - DAY_NS // 2,
        "exit_code": 0 if state is State.EXITED else None,
    }
    return Container(ContainerRef(engine, digest), name, state=state, **(known | more))


def usage(cpu: float | Missing = 0.5, **more: Any) -> Usage:
    """What a busy container uses, everything measured."""
    known: dict[str, Any] = {
        "cpu": cpu,
        "cpu_user": cpu if isinstance(cpu, Missing) else cpu * 0.8,
        "cpu_system": cpu if isinstance(cpu, Missing) else cpu * 0.2,
        "cpu_limit": 2.0,
        "throttled": 0.0,
        "throttled_share": 0.0,
        "memory": 120 << 20,
        "working_set": 100 << 20,
        "anon": 80 << 20,
        "file": 40 << 20,
        "swap": 0,
        "memory_peak": 200 << 20,
        "memory_limit": 512 << 20,
        "oom_kills": 0,
        "pids": 7,
        "pids_limit": 1024,
        "io": IoRates(0.0, 5_000.0, 0.0, 2.0),
        "net": NetRates(1_500.0, 52_000.0, 10.0, 40.0, 0.0, 0.0),
        "pressure": {name: Pressure(share, 0.0) for name, share in (("cpu", 0.12), ("memory", 0.0), ("io", 0.01))},
        "waiting": 0.03,
    }
    return Usage(at_ns=0, **(known | more))


HOST = HostUsage(
    ncpu=4,
    cpu=1.73,
    memory_total=8 << 30,
    memory_used=3 << 30,
    load1=1.2,
    net_rx=2_000.0,
    net_tx=60_000.0,
    io_read=0.0,
    io_write=9_000.0,
    pressure={name: Pressure(share, 0.0) for name, share in (("cpu", 0.2), ("memory", 0.0), ("io", 0.02))},
)


class FakeEngine:
    """An engine that keeps everything in memory.

    Attributes:
        failures: by verb, raised instead of doing it, until taken out.
        away: the engine cannot be reached.
        asked: every change that was asked for, in order.
        delay: seconds that every change takes.
    """

    def __init__(
        self, containers: Sequence[Container] = (), *, key: str = "fake", capabilities: Capabilities | None = None
    ) -> None:
        self.key = key
        self.all: dict[ContainerRef, Container] = {c.ref: c for c in containers}
        self.failures: dict[Verb, PytopError] = {}
        self.asked: list[tuple[Verb, str]] = []
        self.delay = 0.0
        self.closed = False
        self.output: tuple[bytes, ...] = (b"first line", b"second line")
        self._away = asyncio.Event()
        self._capabilities = capabilities or Capabilities()
        self._queues: list[asyncio.Queue[Event]] = []

    # what tests do to it

    @property
    def away(self) -> bool:
        return self._away.is_set()

    @away.setter
    def away(self, gone: bool) -> None:
        (self._away.set if gone else self._away.clear)()

    def put(self, changed: Container, kind: EventKind = EventKind.UPDATED) -> None:
        """Add or replace a container, and tell the followers."""
        self.all[changed.ref] = changed
        self._tell(kind, changed.ref)

    def drop(self, ref: ContainerRef) -> None:
        """The container vanishes."""
        self.all.pop(ref, None)
        self._tell(EventKind.REMOVED, ref)

    def _tell(self, kind: EventKind, ref: ContainerRef) -> None:
        for queue in self._queues:
            queue.put_nowait(Event(kind, ref, time.time_ns()))

    # the Engine protocol

    @property
    def facets(self) -> Facets:
        return Facets(images=self)

    async def info(self) -> EngineInfo:
        self._reachable()
        return EngineInfo(self.key, "Fake", "1.0", "memory")

    async def capabilities(self) -> Capabilities:
        return self._capabilities

    async def containers(self) -> list[Container]:
        self._reachable()
        return list(self.all.values())

    async def get(self, key: str) -> Container:
        self._reachable()
        for known in self.all.values():
            if key == known.name or known.ref.id.startswith(key):
                return known
        raise NotFoundError(f"there is no container {key}")

    async def inspect(self, key: str) -> Mapping[str, Any]:
        return {"Id": (await self.get(key)).ref.id}

    async def recorded(self, key: str) -> Limits:
        await self.get(key)
        return Limits()

    async def events(self) -> AsyncIterator[Event]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._queues.append(queue)
        gone = asyncio.create_task(self._away.wait())
        following = asyncio.create_task(queue.get())
        try:
            while True:
                done, _ = await asyncio.wait({following, gone}, return_when=asyncio.FIRST_COMPLETED)
                if following not in done:
                    self._reachable()
                event = following.result()
                following = asyncio.create_task(queue.get())
                yield event
        finally:
            gone.cancel()
            following.cancel()
            self._queues.remove(queue)

    async def images(self) -> list[Image]:
        return []

    async def import_image(self, name: str, rootfs: bytes) -> Image:
        return Image("sha256:0", (name,))

    async def remove_image(self, name: str) -> None:
        raise NotFoundError(f"there is no image {name}")

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        made = container(spec.name or "new", engine=self.key, state=State.CREATED)
        self.put(made, EventKind.CREATED)
        return made.ref

    async def start(self, key: str) -> None:
        await self._become(Verb.START, key, State.RUNNING, EventKind.STARTED, pid=4321)

    async def stop(self, key: str, *, timeout: float | None = None) -> None:
        await self._become(Verb.STOP, key, State.EXITED, EventKind.DIED, pid=None, exit_code=143)

    async def restart(self, key: str, *, timeout: float | None = None) -> None:
        await self._become(Verb.RESTART, key, State.RUNNING, EventKind.STARTED, pid=4322)

    async def kill(self, key: str, signal: str = "SIGKILL") -> None:
        await self._become(Verb.KILL, key, State.EXITED, EventKind.DIED, pid=None, exit_code=137)

    async def pause(self, key: str) -> None:
        await self._become(Verb.PAUSE, key, State.PAUSED, EventKind.PAUSED)

    async def unpause(self, key: str) -> None:
        await self._become(Verb.UNPAUSE, key, State.RUNNING, EventKind.UNPAUSED)

    async def remove(self, key: str, *, force: bool = False) -> None:
        known = await self._ask(Verb.REMOVE, key)
        if known.state.live and not force:
            raise ConflictError(f"remove {known.name}", detail="it is running")
        self.drop(known.ref)

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        known = await self._ask(Verb.UPDATE, key)
        return LimitOutcome(known.ref, ())

    async def logs(self, key: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogLine]:
        await self._ask(Verb.LOGS, key)
        for data in self.output:
            yield LogLine("stdout", NOW_NS, data)
        if follow:
            await asyncio.Event().wait()

    async def wait(self, key: str) -> int:
        return (await self.get(key)).exit_code or 0

    async def close(self) -> None:
        self.closed = True

    async def _ask(self, verb: Verb, key: str) -> Container:
        self._reachable()
        known = await self.get(key)
        self.asked.append((verb, known.name))
        if self.delay:
            await asyncio.sleep(self.delay)
        if verb in self.failures:
            raise self.failures[verb]
        return known

    async def _become(self, verb: Verb, key: str, state: State, kind: EventKind, **more: Any) -> None:
        known = await self._ask(verb, key)
        self.put(replace(known, state=state, **more), kind)

    def _reachable(self) -> None:
        if self.away:
            raise UnavailableError(f"{self.key} cannot be reached", detail="connection refused", hint="Start it")


Script = Callable[[int, Sequence[Target]], Mapping[ContainerRef, Usage]]


class FakeSweeper:
    """Sweeps that a script answers: from the number of the sweep and the targets to what each uses."""

    def __init__(self, script: Script, host: HostUsage = HOST) -> None:
        self.script = script
        self.host = host
        self.count = 0
        self.closed = False

    def sweep(self, targets: Sequence[Target]) -> Frame:
        self.count += 1
        at = self.count * 10**9
        return Frame(self.count, at, NOW_NS + at, 10**9, 100_000, self.host, self.script(self.count, targets))

    def close(self) -> None:
        self.closed = True


def fixed(by_name: Mapping[str, Usage], containers: Sequence[Container]) -> Script:
    """The same use in every sweep, by container's name."""
    by_ref = {c.ref: by_name[c.name] for c in containers if c.name in by_name}
    return lambda _, targets: {t.ref: by_ref[t.ref] for t in targets if t.ref in by_ref}


def town() -> tuple[list[Container], dict[str, Usage]]:
    """Containers in every state that matters, and what they use."""
    containers = [
        container("web-1", image="registry.example/team/web:2.4.1", engine="docker", labels={"tier": "front"}),
        container("web-2", image="registry.example/team/web:2.4.1", engine="docker", labels={"tier": "front"}),
        container("web-10", image="registry.example/team/web:2.4.1", engine="docker", health="unhealthy"),
        container("database", image="postgres:16", engine="docker", addresses=("172.17.0.5",)),
        container("hog", image="host", engine="embedded", addresses=("10.213.0.3",)),
        container("batch", image="host", engine="embedded", state=State.PAUSED),
        container("old-job", engine="docker", state=State.EXITED, exit_code=1, finished_ns=NOW_NS - DAY_NS),
        container("leaky", image="host", engine="embedded", state=State.EXITED, exit_code=137, oom_killed=True),
    ]  # fmt: skip
    uses = {
        "web-1": usage(0.31),
        "web-2": usage(0.30, cpu_limit=UNLIMITED),
        "web-10": usage(0.29, memory=500 << 20, working_set=500 << 20),
        "database": usage(0.9, memory_limit=UNLIMITED, memory=3 << 30, io=IoRates(3e6, 5e5, 100, 20)),
        "hog": usage(0.5, cpu_limit=0.5, throttled=1.4, throttled_share=0.97),
        "batch": usage(0.0),
    }
    return containers, uses
