"""An engine for containers that no engine answers for: watched, frozen, killed and limited through the kernel alone.

Whoever lists several engines leaves out of this one's containers those that another engine lists too.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal as signals
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NoReturn

from runtime import limits
from runtime.engines.found.names import KEY
from runtime.engines.found.scan import Scanner, Seen
from runtime.engines.found.self_protection import keep_off
from runtime.engines.found.unsupported import why_not
from runtime.errors import ConflictError, DeniedError, InvalidError, NotFoundError, UnsupportedError
from runtime.kernel import cgroups, own_cgroup, procfs
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.signals import parse_signal
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
)

EVERY: Final = 1.0  # seconds between two scans
FRESH: Final = 0.5  # seconds for which a scan answers questions
GRACE: Final = 10.0
_NO_ENGINE: Final = "no engine answers for it, and only its engine knows how"
UNABLE: Final[Mapping[Verb, str]] = {
    **dict.fromkeys((Verb.CREATE, Verb.START, Verb.RESTART, Verb.REMOVE, Verb.IMPORT), _NO_ENGINE),
    Verb.LOGS: "its output goes to whoever started it",
    Verb.WAIT: "only the parent of a process learns its exit status",
}


class DiscoveredEngine:
    """What runs here without an engine that could be asked."""

    def __init__(self, *, services: bool = False, scanner: Scanner | None = None) -> None:
        """`services` lists systemd's services too."""
        self._services = services
        self._scanner = scanner
        self._lock = asyncio.Lock()
        self._last: dict[str, Seen] = {}
        self._looked = -FRESH

    @property
    def key(self) -> str:
        return KEY

    async def info(self) -> EngineInfo:
        return EngineInfo(KEY, "found without an engine", "by cgroup", "the cgroup tree and /proc")

    async def capabilities(self) -> Capabilities:
        lacking = await asyncio.to_thread(lambda: limits.lacking(self._scan_with().hierarchies))
        return Capabilities(verbs=UNABLE, limits=lacking, at_rest="it is gone when its last process ends")

    def _scan_with(self) -> Scanner:
        if self._scanner is None:
            self._scanner = Scanner(services=self._services)
        return self._scanner

    async def _scan(self, *, older_than: float = FRESH) -> dict[str, Seen]:
        """Everything, by id; a scan that is not older than `older_than` seconds is used again."""
        async with self._lock:
            if time.monotonic() - self._looked >= older_than:
                found = await asyncio.to_thread(lambda: self._scan_with().scan())
                self._last = {one.what.id: one for one in found}
                self._looked = time.monotonic()
            return self._last

    async def containers(self) -> list[Container]:
        return [_container(one) for one in (await self._scan()).values()]

    async def get(self, key: str) -> Container:
        return _container(await self._one(key))

    async def _one(self, key: str) -> Seen:
        seen = await self._scan()
        if key in seen:
            return seen[key]
        near = [one for one in seen.values() if one.what.name == key or (key and one.what.id.startswith(key))]
        if not near:
            raise NotFoundError(f"find the container '{key}'", detail="nothing that runs here is called that")
        if len({one.what.id for one in near}) > 1:
            raise ConflictError(f"find the container '{key}'", detail="several begin like that", hint="Give more of it")
        return near[0]

    async def inspect(self, key: str) -> Mapping[str, Any]:
        one = await self._one(key)
        return {
            "id": one.what.id,
            "name": one.what.name,
            "kind": one.what.kind.value,
            "cgroup": None if one.shares else one.what.cgroup,
            "found by": one.what.found,
            "pid": one.pid,
            "command": list(one.command),
        }

    async def recorded(self, key: str) -> Limits:
        await self._one(key)
        return Limits()

    def events(self) -> AsyncIterator[Event]:
        return self._events()

    async def _events(self) -> AsyncIterator[Event]:
        before = dict(await self._scan(older_than=0))
        while True:
            await asyncio.sleep(EVERY)
            now = dict(await self._scan(older_than=FRESH))
            for event in _differences(before, now):
                yield event
            before = now

    # what only an engine could do

    def _unable(self, verb: Verb) -> NoReturn:
        raise UnsupportedError(f"{verb.value} a container that was found", detail=UNABLE[verb])

    async def images(self) -> list[Image]:
        return []

    async def import_image(self, name: str, rootfs: bytes) -> Image:
        self._unable(Verb.IMPORT)

    async def remove_image(self, name: str) -> None:
        raise NotFoundError(f"there is no image {name}")

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        self._unable(Verb.CREATE)

    async def start(self, key: str) -> None:
        self._unable(Verb.START)

    async def restart(self, key: str, *, timeout: float | None = None) -> None:
        self._unable(Verb.RESTART)

    async def remove(self, key: str, *, force: bool = False) -> None:
        self._unable(Verb.REMOVE)

    def logs(self, key: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogLine]:
        self._unable(Verb.LOGS)

    async def wait(self, key: str) -> int:
        self._unable(Verb.WAIT)

    # what the kernel can do

    async def stop(self, key: str, *, timeout: float | None = None) -> None:
        """SIGTERM to its first process, then SIGKILL to all."""
        one = await self._one(key)
        self._permit(one, Verb.STOP)
        await asyncio.to_thread(self._stop, one, GRACE if timeout is None else timeout)
        self._looked = -FRESH

    def _stop(self, one: Seen, timeout: float) -> None:
        cgroup = None if one.shares else self._cgroup(one, Verb.STOP)  # found by a process that will be gone
        try:
            pidfd = os.pidfd_open(one.pid)
        except ProcessLookupError:
            return
        try:
            _signal(one, signals.SIGTERM)
            if one.frozen and cgroup is not None:
                cgroups.thaw(cgroup)
            ended, _, _ = select.select([pidfd], [], [], timeout)
        finally:
            os.close(pidfd)
        if cgroup is not None:
            with suppress(NotFoundError):
                cgroups.kill_all(cgroup)
        elif not ended:
            _signal(one, signals.SIGKILL)

    async def kill(self, key: str, signal: str = "SIGKILL") -> None:
        """SIGKILL goes to every process, any other signal to the first one."""
        one = await self._one(key)
        await asyncio.to_thread(self._kill, one, parse_signal(signal))
        self._looked = -FRESH

    def _kill(self, one: Seen, number: int) -> None:
        with suppress(NotFoundError):
            cgroup = self._cgroup(one, Verb.KILL)
            if number == signals.SIGKILL and not one.shares:
                cgroups.kill_all(cgroup)
            else:  # one that shares its cgroup: number 1 of a PID namespace takes all in it with it
                _signal(one, number)

    async def pause(self, key: str) -> None:
        one = await self._one(key)
        self._permit(one, Verb.PAUSE)
        if one.frozen:
            raise ConflictError(f"{one.what.name} is paused already")
        await asyncio.to_thread(lambda: cgroups.freeze(self._cgroup(one, Verb.PAUSE)))
        self._looked = -FRESH

    async def unpause(self, key: str) -> None:
        one = await self._one(key)
        self._permit(one, Verb.UNPAUSE)
        if not one.frozen:
            raise ConflictError(f"{one.what.name} is not paused")
        await asyncio.to_thread(lambda: cgroups.thaw(self._cgroup(one, Verb.UNPAUSE)))
        self._looked = -FRESH

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        if not change:
            raise InvalidError("The change of limits asks for nothing", hint="name at least one limit")
        one = await self._one(key)
        for name, _ in change.items():
            self._permit(one, name)
        cgroup = await asyncio.to_thread(self._cgroup, one, Verb.UPDATE)
        ref = ContainerRef(KEY, one.what.id)
        async with limits.turn(cgroup, f"change limits of {one.what.name}"):
            outcome = await asyncio.to_thread(lambda: limits.change(ref, cgroup, change, pid=one.pid))
        return limits.survives(outcome, Limits())

    def _permit(self, one: Seen, what: Verb | LimitName) -> None:
        reason = why_not(_container(one), what)
        if reason is not None:
            words = what.value.replace("_", " ")
            title = f"{words} {one.what.name}" if isinstance(what, Verb) else f"set {words} of {one.what.name}"
            raise UnsupportedError(title, detail=reason)

    def _cgroup(self, one: Seen, verb: Verb) -> Cgroup:
        """The container's own cgroup, if `keep_off` allows it; one without directories when it shares its cgroup."""
        title = f"{verb.value} {one.what.name}"
        hierarchies, proc = self._scan_with().hierarchies, self._scan_with().proc
        cgroup = own_cgroup.locate(hierarchies, one.pid, within=one.what.cgroup, proc=proc)
        if procfs.start_time(one.pid, proc=proc) != one.born:
            raise NotFoundError(title, detail="it has ended")
        keep_off(title, {one.pid, *cgroups.pids(cgroup)}, proc=proc)
        if not one.shares:
            cgroups.require(cgroup)
        return cgroup

    async def close(self) -> None:
        """Nothing is open."""


def _container(one: Seen) -> Container:
    return Container(
        ref=ContainerRef(KEY, one.what.id),
        name=one.what.name,
        image="",
        state=State.PAUSED if one.frozen else State.RUNNING,
        pid=one.pid,
        command=one.command,
        created_ns=one.started_ns or 0,
        started_ns=one.started_ns,
        group=one.what.group,
        kind=one.what.kind,
        cgroup=one.what.cgroup,
        found=one.what.found,
    )


def _differences(before: Mapping[str, Seen], now: Mapping[str, Seen]) -> list[Event]:
    at = time.time_ns()
    kinds: list[tuple[EventKind, str]] = []
    for identity, one in now.items():
        old = before.get(identity)
        if old is None:
            kinds.append((EventKind.STARTED, identity))
        elif old.frozen is not one.frozen:
            kinds.append((EventKind.PAUSED if one.frozen else EventKind.UNPAUSED, identity))
        elif replace(old, frozen=one.frozen) != one:
            kinds.append((EventKind.RENAMED, identity))  # another first process, program or cgroup
    kinds += [(EventKind.REMOVED, identity) for identity in before.keys() - now.keys()]
    return [Event(kind, ContainerRef(KEY, identity), at) for kind, identity in kinds]


def _signal(one: Seen, number: int) -> None:
    """Signal its first process, and no other that has got the same number since."""
    try:
        pidfd = os.pidfd_open(one.pid)
    except ProcessLookupError:
        return
    try:
        if procfs.start_time(one.pid) == one.born:
            signals.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise DeniedError.from_os(f"signal {one.what.name}", error, hint="Run it with sudo") from error
    finally:
        os.close(pidfd)
