"""An engine in memory: for the screens' tests without a kernel, and one more engine of the conformance suite.

Its states, conflicts, events, logs and outcomes are those of real engines, because it passes the same tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from runtime import limits
from runtime.engines.protocol import Facets
from runtime.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    PytopError,
    UnavailableError,
    UnsupportedError,
)
from runtime.kernel.signals import parse_signal
from runtime.limits import HostFacts
from runtime.model import (
    Capabilities,
    Container,
    ContainerRef,
    ContainerSpec,
    EngineInfo,
    Event,
    EventKind,
    Image,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    LogLine,
    State,
    Verb,
    Verdict,
)
from tests import fake_limits
from tests.fake_program import Launcher, idle
from tests.fake_store import FakeStore, image

MACHINE: Final = HostFacts(ncpu=4, cpus="0-3", mems="0", memory_total=8 << 30, swap_total=0, pid_max=32768)
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_numbers = itertools.count(1)


class FakeEngine:
    """An engine that keeps everything in memory.

    Attributes:
        failures: by verb, raised instead of doing it, until taken out.
        away: the engine cannot be reached.
        asked: every verb that was asked for, in order, with the container's name.
        changes: every change of limits that was not refused, in order.
        verdicts: what comes of a limit that is not simply applied.
        hold: a change of limits waits until this is set.
        delay: seconds that every verb takes.
    """

    def __init__(
        self,
        containers: Sequence[Container] = (),
        *,
        key: str = "fake",
        capabilities: Capabilities | None = None,
        machine: HostFacts = MACHINE,
        launcher: Launcher = idle,
        store: FakeStore | None = None,
    ) -> None:
        self.key = key
        self.failures: dict[Verb, PytopError] = {}
        self.asked: list[tuple[Verb, str]] = []
        self.changes: list[LimitChange] = []
        self.verdicts: dict[LimitName, tuple[Verdict, Any, str]] = {}
        self.hold = asyncio.Event()
        self.hold.set()
        self.delay = 0.0
        self.closed = False
        self._capabilities = capabilities or Capabilities()
        self._store = store or FakeStore(containers, machine, launcher)

    # what tests do to it

    @property
    def all(self) -> dict[ContainerRef, Container]:
        return self._store.containers

    @property
    def followers(self) -> int:
        """How many follow the events now."""
        return len(self._store.queues)

    @property
    def away(self) -> bool:
        return self._store.away.is_set()

    @away.setter
    def away(self, gone: bool) -> None:
        (self._store.away.set if gone else self._store.away.clear)()

    def client(self) -> FakeEngine:
        """Another client of the same engine."""
        return FakeEngine(key=self.key, capabilities=self._capabilities, store=self._store)

    def kernel(self, ref: ContainerRef) -> Limits:
        """What a kernel would hold of a live container's limits."""
        return self._store.life(ref).kernel

    def put(self, changed: Container, kind: EventKind = EventKind.UPDATED) -> None:
        """Add or replace a container, and tell the followers."""
        self._store.put(changed, kind)

    def drop(self, ref: ContainerRef) -> None:
        """The container vanishes."""
        self._store.drop(ref)

    def tell(self, kind: EventKind, ref: ContainerRef) -> None:
        """Tell the followers of an event."""
        self._store.tell(kind, ref)

    # looking

    @property
    def facets(self) -> Facets:
        return Facets(images=self)

    async def info(self) -> EngineInfo:
        self._reachable()
        return EngineInfo(self.key, "Fake", "1.0", "memory")

    async def capabilities(self) -> Capabilities:
        self._reachable()
        return self._capabilities

    async def containers(self) -> list[Container]:
        self._reachable()
        return list(self.all.values())

    async def get(self, key: str) -> Container:
        self._reachable()
        exact = [known for known in self.all.values() if key in (known.ref.id, known.name)]
        found = exact or [known for known in self.all.values() if key and known.ref.id.startswith(key)]
        if not found:
            raise NotFoundError(f"there is no container {key}")
        if len(found) > 1:
            raise ConflictError(f"find the container {key}", detail="several ids begin like that")
        return found[0]

    async def inspect(self, key: str) -> Mapping[str, Any]:
        known = await self.get(key)
        return {"Id": known.ref.id, "Name": known.name, "Image": known.image, "State": known.state.value}

    async def recorded(self, key: str) -> Limits:
        return self._store.life((await self.get(key)).ref).recorded

    async def events(self) -> AsyncIterator[Event]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._store.queues.append(queue)
        gone = asyncio.create_task(self._store.away.wait())
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
            self._store.queues.remove(queue)

    async def logs(self, key: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogLine]:
        ref = (await self._ask(Verb.LOGS, key)).ref
        life = self._store.life(ref)
        at = len(life.lines) - (len(life.lines) if tail is None else min(tail, len(life.lines)))
        while True:
            changed, live = life.changed, ref in self.all and self.all[ref].state.live
            for line in life.lines[at:]:
                at += 1
                yield line
            if not (follow and live):
                return
            if at == len(life.lines):
                await changed.wait()

    async def wait(self, key: str) -> int:
        known = await self._ask(Verb.WAIT, key)
        life = self._store.life(known.ref)
        while known.state.live or known.state is State.CREATED:
            await life.changed.wait()
            if known.ref not in self.all:
                raise NotFoundError(f"wait for {known.name}", detail="it was removed")
            known = self.all[known.ref]
        return known.exit_code or 0

    async def close(self) -> None:
        self.closed = True

    # images

    async def images(self) -> list[Image]:
        self._reachable()
        return list(self._store.images.values())

    async def import_image(self, name: str, rootfs: bytes) -> Image:
        self._permit(Verb.IMPORT, f"import the image {name}")
        self._store.images[name] = image(name, rootfs)
        return self._store.images[name]

    async def remove_image(self, name: str) -> None:
        self._reachable()
        if name not in self._store.images:
            raise NotFoundError(f"there is no image {name}")
        del self._store.images[name]

    # verbs

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        name = spec.name or f"fake-{next(_numbers)}"
        self._permit(Verb.CREATE, f"create {name}")
        if spec.image not in self._store.images:
            raise NotFoundError(f"there is no image {spec.image}")
        asked = {"network": spec.network != "none", "restart_policy": spec.restart_policy != "no"}
        for field_name, is_asked in (asked | {"auto_remove": spec.auto_remove}).items():
            if is_asked and field_name in self._capabilities.creation:
                raise UnsupportedError(f"create {name}", detail=self._capabilities.creation[field_name])
        if not _NAME.fullmatch(name):
            raise InvalidError(f"{name!r} is no container's name")
        if any(known.name == name for known in self.all.values()):
            raise ConflictError(f"create {name}", detail="another container has this name")
        fresh = fake_limits.fresh(self._store.machine)
        self._check(spec.limits, fresh)
        now = time.time_ns()
        ref = ContainerRef(self.key, hashlib.sha256(f"{name} {next(_numbers)}".encode()).hexdigest())
        recorded = fake_limits.changed(fresh, spec.limits, self._store.machine)
        made = Container(
            ref,
            name,
            spec.image,
            State.CREATED,
            command=spec.command,
            created_ns=now,
            restart_policy=spec.restart_policy,
            labels=dict(spec.labels),
        )
        self._store.add(made, spec, recorded)
        return ref

    async def start(self, key: str) -> None:
        await self._store.start((await self._ask(Verb.START, key)).ref)

    async def stop(self, key: str, *, timeout: float | None = None) -> None:
        await self._store.stop((await self._ask(Verb.STOP, key)).ref, timeout)

    async def restart(self, key: str, *, timeout: float | None = None) -> None:
        await self._store.restart((await self._ask(Verb.RESTART, key)).ref, timeout)

    async def kill(self, key: str, signal: str = "SIGKILL") -> None:
        number = parse_signal(signal)
        self._store.kill((await self._ask(Verb.KILL, key)).ref, number)

    async def pause(self, key: str) -> None:
        await self._store.pause((await self._ask(Verb.PAUSE, key)).ref)

    async def unpause(self, key: str) -> None:
        await self._store.unpause((await self._ask(Verb.UNPAUSE, key)).ref)

    async def remove(self, key: str, *, force: bool = False) -> None:
        await self._store.remove((await self._ask(Verb.REMOVE, key)).ref, force=force)

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        known = await self._ask(Verb.UPDATE, key)
        life, title = self._store.life(known.ref), f"change limits of {known.name}"
        if not change:
            raise InvalidError(title, detail="it asks for nothing")
        if not known.state.live and self._capabilities.at_rest:
            raise UnsupportedError(title, detail=self._capabilities.at_rest)
        self._check(change, life.kernel if known.state.live else life.recorded)
        self.changes.append(change)
        await self.hold.wait()
        before, machine = (life.kernel, life.recorded), self._store.machine
        life.recorded = fake_limits.changed(life.recorded, change, machine)
        if known.state.live:
            life.kernel = fake_limits.changed(life.kernel, change, machine)
            fields = fake_limits.outcomes(
                *(before[0], life.kernel, life.recorded, change, machine), scripted=self.verdicts
            )
        else:
            fields = fake_limits.outcomes_at_rest(before[1], life.recorded, change)
        self.tell(EventKind.UPDATED, known.ref)
        return limits.with_persistence(LimitOutcome(known.ref, fields), life.recorded)

    def _check(self, change: LimitChange, current: Limits) -> None:
        limits.validate(change)
        for name, _ in change.items():
            reason = self._capabilities.why_not(name)
            if reason is not None:
                raise UnsupportedError(f"set {name.value.replace('_', ' ')}", detail=reason)
        limits.refuse(change, current, self._store.machine, None)

    # inside

    async def _ask(self, verb: Verb, key: str) -> Container:
        known = await self.get(key)
        self.asked.append((verb, known.name))
        if self.delay:
            await asyncio.sleep(self.delay)
        self._permit(verb, f"{verb.value} {known.name}")
        return self._store.known(known.ref)

    def _permit(self, verb: Verb, title: str) -> None:
        self._reachable()
        if verb in self.failures:
            raise self.failures[verb]
        reason = self._capabilities.why_not(verb)
        if reason is not None:
            raise UnsupportedError(title, detail=reason)

    def _reachable(self) -> None:
        if self.away:
            raise UnavailableError(f"{self.key} cannot be reached", detail="connection refused", hint="Start it")
