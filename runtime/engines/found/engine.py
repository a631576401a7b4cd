"""An engine for containers that no engine lists: followed, frozen, killed and limited through the kernel alone.

Whoever lists several engines removes from this one's containers those that another engine lists too
(`tui.core.deduplication`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal as signals
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from runtime import limits
from runtime.engines.found.kernel_limits import NOT_RECORDED, change_limits
from runtime.engines.found.names import KEY
from runtime.engines.found.scan import FoundContainer, Scanner
from runtime.engines.found.tree_watch import CgroupTreeWatch, describe_polling, why_unwatchable
from runtime.engines.found.unsupported import why_not
from runtime.engines.protocol import Engine, Facets
from runtime.engines.refusal import refused
from runtime.errors import ConflictError, DeniedError, InvalidError, NotFoundError, PytopError, UnsupportedError
from runtime.kernel import cgroups, own_cgroup, procfs, threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.self_protection import protect_self
from runtime.kernel.signals import parse_signal
from runtime.model import (
    Capabilities,
    Container,
    ContainerRef,
    EngineInfo,
    Event,
    EventKind,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    State,
    Verb,
)

log = logging.getLogger(__name__)

MAX_RESCANS: Final = 5  # in a row, for cgroups that came between a scan and the watch of their parent
SCAN_MAX_AGE_S: Final = 0.5  # an older scan answers no questions
STOP_TIMEOUT_S: Final = 10.0  # between SIGTERM and SIGKILL where none is given
_NO_ENGINE: Final = "no engine answers for it, and only its engine knows how"
UNSUPPORTED: Final[Mapping[Verb, str]] = {
    **dict.fromkeys((Verb.CREATE, Verb.START, Verb.RESTART, Verb.REMOVE, Verb.IMPORT), _NO_ENGINE),
    Verb.LOGS: "its output goes to whoever started it",
    Verb.WAIT: "only the parent of a process learns its exit status",
}


class FoundEngine:
    """Containers, virtual machines and services known only from the cgroup tree and /proc.

    It has no facets: images, networks and volumes are known to engines only.
    """

    facets = Facets()

    def __init__(self, *, services: bool = False, scanner: Scanner | None = None) -> None:
        """`services` lists systemd's services too."""
        self._services = services
        self._scanner = scanner
        self._lock = asyncio.Lock()
        self._containers: dict[str, FoundContainer] = {}
        self._scanned_at = -SCAN_MAX_AGE_S
        self._why_polled = ""

    @property
    def key(self) -> str:
        return KEY

    async def info(self) -> EngineInfo:
        detail = describe_polling(self._why_polled or why_unwatchable(procfs.PROC))
        return EngineInfo(KEY, "found without an engine", "by cgroup", "the cgroup tree and /proc", detail=detail)

    async def capabilities(self) -> Capabilities:
        unsupported = await threads.waiting(lambda: limits.unsupported_limits(self._get_scanner().hierarchies))
        return Capabilities(verbs=UNSUPPORTED, limits=unsupported, at_rest="it is gone when its last process ends")

    def _get_scanner(self) -> Scanner:
        if self._scanner is None:
            self._scanner = Scanner(services=self._services)
        return self._scanner

    async def _scan(
        self, *, older_than: float = SCAN_MAX_AGE_S, touched: Collection[str] | None = None
    ) -> dict[str, FoundContainer]:
        """Every container by id; the last scan is used again while it is younger than `older_than` seconds.

        `touched` is as in `Scanner.scan`.
        """
        async with self._lock:
            if time.monotonic() - self._scanned_at >= older_than:
                found = await threads.completing(lambda: self._get_scanner().scan(touched))
                self._containers = {one.identity.id: one for one in found}
                self._scanned_at = time.monotonic()
            return self._containers

    async def containers(self) -> list[Container]:
        return [_container(one) for one in (await self._scan()).values()]

    async def get(self, key: str) -> Container:
        return _container(await self._find(key))

    async def _find(self, key: str) -> FoundContainer:
        seen = await self._scan()
        if key in seen:
            return seen[key]
        near = [one for one in seen.values() if one.identity.name == key or (key and one.identity.id.startswith(key))]
        if not near:
            raise NotFoundError(f"find the container '{key}'", detail="nothing that runs here is called that")
        if len({one.identity.id for one in near}) > 1:
            raise ConflictError(f"find the container '{key}'", detail="several begin like that", hint="Give more of it")
        return near[0]

    async def inspect(self, key: str) -> Mapping[str, Any]:
        one = await self._find(key)
        return {
            "id": one.identity.id,
            "name": one.identity.name,
            "kind": one.identity.kind.value,
            "cgroup": None if one.shares else one.identity.cgroup,
            "found by": one.identity.found,
            "pid": one.pid,
            "command": list(one.command),
        }

    async def recorded(self, key: str) -> Limits:
        await self._find(key)
        return Limits()

    def events(self) -> AsyncIterator[Event]:
        return self._events()

    async def _events(self) -> AsyncIterator[Event]:
        tree = CgroupTreeWatch()
        try:
            before = await self._watched_scan(tree)
            while True:
                touched = await tree.wait(young=self._get_scanner().to_watch.young)
                now = await self._watched_scan(tree, touched)
                for event in _differences(before, now):
                    yield event
                before = now
        finally:
            tree.close()

    async def _watched_scan(
        self, tree: CgroupTreeWatch, touched: Collection[str] | None = None
    ) -> dict[str, FoundContainer]:
        """A scan all of whose directories were watched before they were read, as far as they can be."""
        for _ in range(MAX_RESCANS):
            found = dict(await self._scan(older_than=0, touched=touched))
            watch = self._get_scanner().to_watch
            if not tree.follow(watch.parents, watch.own, watch.pids):
                break
        if tree.why_polled and tree.why_polled != self._why_polled:
            log.warning("found containers are looked for every second: %s", tree.why_polled)
        self._why_polled = tree.why_polled
        return found

    # what only an engine can do

    def refusal(self, method: str) -> PytopError:
        """Why a verb is not here; the methods of the verbs have the verbs' names."""
        verb = Verb(method)
        return UnsupportedError(f"{verb.value} a container that was found", detail=UNSUPPORTED[verb])

    create = refused(Engine.create)
    start = refused(Engine.start)
    restart = refused(Engine.restart)
    remove = refused(Engine.remove)
    logs = refused(Engine.logs)
    wait = refused(Engine.wait)

    # what is done through the kernel

    async def stop(self, key: str, *, timeout: float | None = None) -> None:
        """SIGTERM to its first process, then SIGKILL to all."""
        one = await self._find(key)
        self._permit(one, Verb.STOP)
        await threads.completing(self._stop, one, STOP_TIMEOUT_S if timeout is None else timeout)
        self._scanned_at = -SCAN_MAX_AGE_S

    def _stop(self, one: FoundContainer, timeout: float) -> None:
        cgroup = None if one.shares else self._cgroup(one, Verb.STOP)  # before its first process ends
        try:
            pidfd = os.pidfd_open(one.pid)
        except ProcessLookupError:
            return
        try:
            _signal(one, signals.SIGTERM)
            if one.frozen and cgroup is not None:
                cgroups.thaw(cgroup)
            ended = procfs.await_end(pidfd, timeout)
        finally:
            os.close(pidfd)
        if cgroup is not None:
            with suppress(NotFoundError):
                cgroups.kill_all(cgroup)
        elif not ended:
            _signal(one, signals.SIGKILL)

    async def kill(self, key: str, signal: str = "SIGKILL") -> None:
        """SIGKILL goes to every process, any other signal to the first one."""
        one = await self._find(key)
        await threads.acting(self._kill, one, parse_signal(signal))
        self._scanned_at = -SCAN_MAX_AGE_S

    def _kill(self, one: FoundContainer, number: int) -> None:
        with suppress(NotFoundError):
            cgroup = self._cgroup(one, Verb.KILL)
            if number == signals.SIGKILL and not one.shares:
                cgroups.kill_all(cgroup)
            else:  # shares its cgroup: the kernel kills a PID namespace with its process 1
                _signal(one, number)

    async def pause(self, key: str) -> None:
        one = await self._find(key)
        self._permit(one, Verb.PAUSE)
        if one.frozen:
            raise ConflictError(f"{one.identity.name} is paused already")
        await threads.completing(lambda: cgroups.freeze(self._cgroup(one, Verb.PAUSE)))
        self._scanned_at = -SCAN_MAX_AGE_S

    async def unpause(self, key: str) -> None:
        one = await self._find(key)
        self._permit(one, Verb.UNPAUSE)
        if not one.frozen:
            raise ConflictError(f"{one.identity.name} is not paused")
        await threads.completing(lambda: cgroups.thaw(self._cgroup(one, Verb.UNPAUSE)))
        self._scanned_at = -SCAN_MAX_AGE_S

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        if not change:
            raise InvalidError("The change of limits asks for nothing", hint="name at least one limit")
        one = await self._find(key)
        for name, _ in change.items():
            self._permit(one, name)
        cgroup = await threads.acting(self._cgroup, one, Verb.UPDATE)
        ref = ContainerRef(KEY, one.identity.id)
        return await change_limits(ref, cgroup, change, name=one.identity.name, record=NOT_RECORDED, pid=one.pid)

    def _permit(self, one: FoundContainer, what: Verb | LimitName) -> None:
        reason = why_not(_container(one), what)
        if reason is not None:
            words = what.value.replace("_", " ")
            title = f"{words} {one.identity.name}" if isinstance(what, Verb) else f"set {words} of {one.identity.name}"
            raise UnsupportedError(title, detail=reason)

    def _cgroup(self, one: FoundContainer, verb: Verb) -> Cgroup:
        """The container's own cgroup, after `protect_self`; one without directories when it has none of its own."""
        title = f"{verb.value} {one.identity.name}"
        hierarchies, proc = self._get_scanner().hierarchies, self._get_scanner().proc
        cgroup = own_cgroup.locate(hierarchies, one.pid, within=one.identity.cgroup, proc=proc)
        if procfs.start_time(one.pid, proc=proc) != one.start_ticks:
            raise NotFoundError(title, detail="it has ended")
        protect_self(title, cgroup, one.pid, proc=proc)
        if not one.shares:
            cgroups.require(cgroup)
        return cgroup

    async def close(self) -> None:
        """Nothing was opened."""


def _container(one: FoundContainer) -> Container:
    return Container(
        ref=ContainerRef(KEY, one.identity.id),
        name=one.identity.name,
        image="",
        state=State.PAUSED if one.frozen else State.RUNNING,
        pid=one.pid,
        command=one.command,
        created_ns=one.started_ns or 0,
        started_ns=one.started_ns,
        group=one.identity.group,
        kind=one.identity.kind,
        cgroup=one.identity.cgroup,
        found=one.identity.found,
    )


def _differences(before: Mapping[str, FoundContainer], now: Mapping[str, FoundContainer]) -> list[Event]:
    at = time.time_ns()
    kinds: list[tuple[EventKind, str]] = []
    for identity, one in now.items():
        old = before.get(identity)
        if old is one:
            continue
        if old is None:
            kinds.append((EventKind.STARTED, identity))
        elif old.frozen is not one.frozen:
            kinds.append((EventKind.PAUSED if one.frozen else EventKind.UNPAUSED, identity))
        elif replace(old, frozen=one.frozen) != one:
            kinds.append((EventKind.RENAMED, identity))  # another first process, program or cgroup
    kinds += [(EventKind.REMOVED, identity) for identity in before.keys() - now.keys()]
    return [Event(kind, ContainerRef(KEY, identity), at) for kind, identity in kinds]


def _signal(one: FoundContainer, number: int) -> None:
    """Signal its first process, unless that pid belongs to another process by now."""
    try:
        pidfd = os.pidfd_open(one.pid)
    except ProcessLookupError:
        return
    try:
        if procfs.start_time(one.pid) == one.start_ticks:
            signals.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise DeniedError.from_os(f"signal {one.identity.name}", error, hint="Run it with sudo") from error
    finally:
        os.close(pidfd)
