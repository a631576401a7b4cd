"""An engine in memory: for the screens' tests without a kernel, and one more engine of the conformance suite.

Its states, conflicts, events, logs and outcomes are those of real engines, because it passes the same tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
import signal as signals
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from runtime import limits
from runtime.engines.protocol import Facets
from runtime.errors import (
    ConflictError,
    EngineError,
    InvalidError,
    NotFoundError,
    PytopError,
    UnavailableError,
    UnsupportedError,
)
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
    Missing,
    State,
    Verb,
    Verdict,
)
from tests import fake_limits
from tests.fake_program import IdleProgram, Launcher, Program, idle

RESTART_DELAY_S: Final = 0.05
MACHINE: Final = HostFacts(ncpu=4, cpus="0-3", mems="0", memory_total=8 << 30, swap_total=0, pid_max=32768)
IMAGES: Final = ("host", "busybox:latest")
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_numbers = itertools.count(1)


@dataclass(slots=True)
class Life:
    """What an engine keeps of one container beside what it lists."""

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


@dataclass(slots=True)
class Store:
    """What several clients of one engine share."""

    containers: dict[ContainerRef, Container]
    lives: dict[ContainerRef, Life] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=lambda: {name: _image(name, b"") for name in IMAGES})
    queues: list[asyncio.Queue[Event]] = field(default_factory=list)
    away: asyncio.Event = field(default_factory=asyncio.Event)


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
        output: the lines of a container that was put here.
    """

    def __init__(
        self,
        containers: Sequence[Container] = (),
        *,
        key: str = "fake",
        capabilities: Capabilities | None = None,
        machine: HostFacts = MACHINE,
        launcher: Launcher = idle,
        store: Store | None = None,
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
        self.output: tuple[bytes, ...] = (b"first line", b"second line")
        self._capabilities = capabilities or Capabilities()
        self._machine = machine
        self._launcher = launcher
        self._store = store or Store({c.ref: c for c in containers})

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
        return FakeEngine(
            key=self.key,
            capabilities=self._capabilities,
            machine=self._machine,
            launcher=self._launcher,
            store=self._store,
        )

    def kernel(self, ref: ContainerRef) -> Limits:
        """What a kernel would hold of a live container's limits."""
        return self._life(ref).kernel

    def put(self, changed: Container, kind: EventKind = EventKind.UPDATED) -> None:
        """Add or replace a container, and tell the followers."""
        self.all[changed.ref] = changed
        self._tell(kind, changed.ref)

    def drop(self, ref: ContainerRef) -> None:
        """The container vanishes."""
        self.all.pop(ref, None)
        self._tell(EventKind.REMOVED, ref)
        self._store.lives.pop(ref, None)

    def _tell(self, kind: EventKind, ref: ContainerRef) -> None:
        for queue in self._store.queues:
            queue.put_nowait(Event(kind, ref, time.time_ns()))
        if ref in self._store.lives:
            self._store.lives[ref].tell()

    def _life(self, ref: ContainerRef) -> Life:
        """What is kept of a container; one that was put here has printed `output`."""
        if ref not in self._store.lives:
            lines = [LogLine("stdout", time.time_ns(), data) for data in self.output]
            spec = ContainerSpec(self.all[ref].image)
            self._store.lives[ref] = Life(spec, lines, Limits(), fake_limits.fresh(self._machine))
        return self._store.lives[ref]

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
        return self._life((await self.get(key)).ref).recorded

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
        life = self._life(ref)
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
        life = self._life(known.ref)
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
        self._store.images[name] = _image(name, rootfs)
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
        fresh = fake_limits.fresh(self._machine)
        self._check(spec.limits, fresh)
        now = time.time_ns()
        ref = ContainerRef(self.key, hashlib.sha256(f"{name} {next(_numbers)}".encode()).hexdigest())
        recorded = fake_limits.changed(fresh, spec.limits, self._machine)
        self._store.lives[ref] = Life(spec, [], recorded, recorded)
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
        self.put(made, EventKind.CREATED)
        return ref

    async def start(self, key: str) -> None:
        ref = (await self._ask(Verb.START, key)).ref
        async with self._life(ref).lock:
            self._life(ref).restarts = 0
            await self._start(ref)

    async def _start(self, ref: ContainerRef) -> None:
        known, life = self._known(ref), self._life(ref)
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
            self.put(replace(known, error=words))
            raise EngineError(f"start {known.name}", detail=words) from error
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
        )
        self.put(running, EventKind.STARTED)

    def _kernel_at_start(self, life: Life) -> Limits:
        """The record's limits; one that is not recorded is not limited."""
        fresh = fake_limits.fresh(self._machine)
        held: dict[str, Any] = {name.value: life.recorded.get(name) for name in LimitName}
        return replace(fresh, **{name: value for name, value in held.items() if not isinstance(value, Missing)})

    def _ended(self, ref: ContainerRef, status: int) -> None:
        """The container's first process has ended."""
        if ref not in self.all:
            return
        life = self._life(ref)
        life.program = None
        policy, _, most = self.all[ref].restart_policy.partition(":")
        again = policy in ("always", "unless-stopped") or (
            policy == "on-failure" and status != 0 and (not most or life.restarts < int(most))
        )
        again = again and not life.stopped
        state = State.RESTARTING if again else State.EXITED
        ended = replace(self.all[ref], state=state, pid=None, exit_code=status, finished_ns=time.time_ns())
        self.put(ended, EventKind.DIED)
        if again:
            life.restarts += 1
            life.restarting = asyncio.create_task(self._start_again(ref))
        elif life.spec.auto_remove:
            self.drop(ref)

    async def _start_again(self, ref: ContainerRef) -> None:
        await asyncio.sleep(RESTART_DELAY_S)
        async with self._life(ref).lock:
            if ref in self.all and self.all[ref].state is State.RESTARTING:
                await self._start(ref)

    async def stop(self, key: str, *, timeout: float | None = None) -> None:
        ref = (await self._ask(Verb.STOP, key)).ref
        async with self._life(ref).lock:
            await self._stop(ref, timeout)

    async def _stop(self, ref: ContainerRef, timeout: float | None) -> None:
        known, life = self._known(ref), self._life(ref)
        life.stopped = True
        if known.state is State.RESTARTING:
            self.put(replace(known, state=State.EXITED))
        if not known.state.live:
            return
        program = self._program(ref)
        program.signal(_signal_number(life.spec.stop_signal))
        program.signal(signals.SIGCONT)
        try:
            await asyncio.wait_for(self._end_of(ref, life), life.spec.stop_timeout if timeout is None else timeout)
        except TimeoutError:
            program.signal(signals.SIGKILL)
            await self._end_of(ref, life)

    async def _end_of(self, ref: ContainerRef, life: Life) -> None:
        while ref in self.all and self.all[ref].state.live:
            await life.changed.wait()

    async def restart(self, key: str, *, timeout: float | None = None) -> None:
        ref = (await self._ask(Verb.RESTART, key)).ref
        async with self._life(ref).lock:
            await self._stop(ref, timeout)
            await self._start(ref)

    async def kill(self, key: str, signal: str = "SIGKILL") -> None:
        number = _signal_number(signal)
        known = await self._ask(Verb.KILL, key)
        if not known.state.live:
            raise ConflictError(f"kill {known.name}", detail=f"it is {known.state.value}")
        self._life(known.ref).stopped |= number == signals.SIGKILL
        self._program(known.ref).signal(number)

    async def pause(self, key: str) -> None:
        await self._freeze(Verb.PAUSE, key, State.RUNNING, State.PAUSED, EventKind.PAUSED)

    async def unpause(self, key: str) -> None:
        await self._freeze(Verb.UNPAUSE, key, State.PAUSED, State.RUNNING, EventKind.UNPAUSED)

    async def _freeze(self, verb: Verb, key: str, before: State, after: State, kind: EventKind) -> None:
        ref = (await self._ask(verb, key)).ref
        async with self._life(ref).lock:
            known = self._known(ref)
            if known.state is not before:
                raise ConflictError(f"{verb.value} {known.name}", detail=f"it is {known.state.value}")
            self._program(ref).signal(signals.SIGSTOP if verb is Verb.PAUSE else signals.SIGCONT)
            self.put(replace(known, state=after), kind)

    async def remove(self, key: str, *, force: bool = False) -> None:
        known = await self._ask(Verb.REMOVE, key)
        if known.state.live and not force:
            raise ConflictError(f"remove {known.name}", detail="it is running")
        life = self._life(known.ref)
        life.stopped = True
        if known.state.live:
            self._program(known.ref).signal(signals.SIGKILL)
            await self._end_of(known.ref, life)
        if known.ref in self.all:
            self.drop(known.ref)

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        known = await self._ask(Verb.UPDATE, key)
        life, title = self._life(known.ref), f"change limits of {known.name}"
        if not change:
            raise InvalidError(title, detail="it asks for nothing")
        if not known.state.live and self._capabilities.at_rest:
            raise UnsupportedError(title, detail=self._capabilities.at_rest)
        self._check(change, life.kernel if known.state.live else life.recorded)
        self.changes.append(change)
        await self.hold.wait()
        before, machine = (life.kernel, life.recorded), self._machine
        life.recorded = fake_limits.changed(life.recorded, change, machine)
        if known.state.live:
            life.kernel = fake_limits.changed(life.kernel, change, machine)
            fields = fake_limits.outcomes(
                *(before[0], life.kernel, life.recorded, change, machine), scripted=self.verdicts
            )
        else:
            fields = fake_limits.outcomes_at_rest(before[1], life.recorded, change)
        self._tell(EventKind.UPDATED, known.ref)
        return limits.survives(LimitOutcome(known.ref, fields), life.recorded)

    def _check(self, change: LimitChange, current: Limits) -> None:
        limits.validate(change)
        for name, _ in change.items():
            reason = self._capabilities.why_not(name)
            if reason is not None:
                raise UnsupportedError(f"set {name.value.replace('_', ' ')}", detail=reason)
        limits.refuse(change, current, self._machine, None)

    # inside

    async def _ask(self, verb: Verb, key: str) -> Container:
        known = await self.get(key)
        self.asked.append((verb, known.name))
        if self.delay:
            await asyncio.sleep(self.delay)
        self._permit(verb, f"{verb.value} {known.name}")
        return self._known(known.ref)

    def _permit(self, verb: Verb, title: str) -> None:
        self._reachable()
        if verb in self.failures:
            raise self.failures[verb]
        reason = self._capabilities.why_not(verb)
        if reason is not None:
            raise UnsupportedError(title, detail=reason)

    def _known(self, ref: ContainerRef) -> Container:
        """As it is now, which is not as it was before something was waited for."""
        if ref not in self.all:
            raise NotFoundError(f"there is no container {ref.short}")
        return self.all[ref]

    def _program(self, ref: ContainerRef) -> Program:
        """What runs in a live container; in one that was put here nothing does, under its pid."""
        life = self._life(ref)
        if life.program is None:
            life.program = IdleProgram(lambda status: self._ended(ref, status), self.all[ref].pid)
        return life.program

    def _reachable(self) -> None:
        if self.away:
            raise UnavailableError(f"{self.key} cannot be reached", detail="connection refused", hint="Start it")


def _image(name: str, rootfs: bytes) -> Image:
    digest = hashlib.sha256(name.encode() + rootfs).hexdigest()
    return Image(f"sha256:{digest}", (name,), size=len(rootfs), created_ns=time.time_ns())


def _signal_number(name: str) -> int:
    try:
        upper = name.upper()
        return signals.Signals(int(name)) if name.isdecimal() else signals.Signals[f"SIG{upper.removeprefix('SIG')}"]
    except (KeyError, ValueError) as error:
        raise InvalidError(f"{name!r} is not a signal") from error
