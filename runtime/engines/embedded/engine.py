"""The embedded engine as an `Engine`: asynchronous, with no blocking call on the event loop.

Blocking work runs in the threads of its kind. Waiting (for an exit, for output, for changes by other processes) uses
inotify on the event loop and no thread.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from runtime import __version__
from runtime.engines.embedded import reconcile, requirements
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.guard import guarded
from runtime.engines.embedded.images import host
from runtime.engines.embedded.lifecycle import Lifecycle
from runtime.engines.embedded.process import shim
from runtime.engines.embedded.process.init import EXIT_BYTES
from runtime.engines.embedded.process.log_writer import read_counters
from runtime.engines.embedded.state import run_files, storage
from runtime.engines.embedded.state.changes import event_kinds
from runtime.engines.embedded.state.record import KEY, ContainerRecord, to_json
from runtime.engines.protocol import Facets
from runtime.errors import ConflictError, InvalidError, NotFoundError, PytopError, UnsupportedError
from runtime.kernel import own_cgroup, procfs, threads
from runtime.kernel.directory_watch import NoWatch, require_watch, watch_or_wait
from runtime.kernel.inotify import LOGS, RECORDS
from runtime.model import (
    Capabilities,
    Container,
    ContainerRef,
    ContainerSpec,
    EngineInfo,
    Event,
    Image,
    LimitChange,
    LimitOutcome,
    Limits,
    LogLine,
    State,
    Verb,
)
from runtime.oci import cri_log

T = TypeVar("T")
_RECHECK_INTERVAL_S = 1.0
"""Waiters read the record again after this time even without an inotify event."""
_KILL_TIMEOUT_S = 10.0


class EmbeddedEngine:
    """Containers that this project runs itself; see `runtime.engines.protocol.Engine` for what each method promises."""

    def __init__(self, config: EmbeddedConfig | None = None) -> None:
        self.config = config or EmbeddedConfig()
        self._verbs = Lifecycle(self.config)
        self._store = self._verbs.store
        self._capabilities: Capabilities | None = None
        self._reconciled: asyncio.Task[None] | None = None

    @property
    def key(self) -> str:
        return KEY

    @property
    def facets(self) -> Facets:
        return Facets(images=self, boot=self)

    async def _read(self, function: Callable[..., T], *arguments: Any) -> T:
        """Look at records and logs; a cancelled caller leaves at once."""
        return await threads.waiting(guarded(self.config, function, *arguments))

    async def _act(self, function: Callable[..., T], *arguments: Any) -> T:
        """A step that waits for no lock of another operation, so that who holds one can always go on."""
        return await threads.acting(guarded(self.config, function, *arguments))

    async def _complete(self, function: Callable[..., T], *arguments: Any) -> T:
        """An operation, or a look that may repair; it may wait for a lock or a process."""
        return await threads.completing(guarded(self.config, function, *arguments))

    async def _ready(self) -> None:
        """Once, and again where it failed: reconcile after a crash.

        Without the rights for it, containers are only read.
        """
        task = self._reconciled
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._reconciled = asyncio.create_task(self._complete(self._reconcile))
        await asyncio.shield(task)

    def _reconcile(self) -> None:
        if self.config.records.is_dir() and requirements.why_not(self._verbs.hierarchies) is None:
            reconcile.repair_all(self._store, self._verbs.hierarchies)

    # -- reading

    async def info(self) -> EngineInfo:
        return EngineInfo(
            key=KEY,
            product="pytop-containers",
            version=__version__,
            endpoint=str(self.config.state),
            detail={"kernel": platform.release(), "cgroups": str(self._verbs.hierarchies.mode)},
        )

    async def capabilities(self) -> Capabilities:
        return await self._read(requirements.capabilities, self._verbs.hierarchies)

    async def containers(self) -> list[Container]:
        await self._ready()
        found: list[Container] = await self._complete(self._list)
        return found

    def _list(self) -> list[Container]:
        records = self._store.all()
        if os.geteuid() == 0:
            records = reconcile.repair_each(self._store, self._verbs.hierarchies, records)
        return [_placed(record) for record in records]

    def _repaired(self, record: ContainerRecord) -> ContainerRecord | None:
        """The record, made true; a container whose shim was killed gets another one."""
        if os.geteuid() != 0:
            return record
        return reconcile.repair_unless_busy(self._store, self._verbs.hierarchies, record)

    def _find(self, key: str) -> ContainerRecord:
        found = self._repaired(self._store.find(key))
        if found is None:
            raise NotFoundError(f"There is no container {key!r} (any more)")
        return found

    async def get(self, key: str) -> Container:
        await self._ready()
        found: Container = await self._complete(lambda: _placed(self._find(key)))
        return found

    async def recorded(self, key: str) -> Limits:
        await self._ready()
        limits: Limits = await self._read(self._verbs.recorded, key)
        return limits

    async def inspect(self, key: str) -> Mapping[str, Any]:
        await self._ready()
        record: ContainerRecord = await self._complete(self._find, key)
        layer: Path = await self._read(storage.directory, self.config, record.id)
        paths = {
            "cgroup": self.config.cgroup_of(record.id),
            "log": str(self.config.log(record.id)),
            "writable_layer": str(layer / "upper"),
        }
        live = self.config.live(record.id)
        extra: dict[str, Any] = {"inherited": await self._complete(run_files.inherited, live)}
        extra["log"] = asdict(await self._complete(read_counters, live))
        used = await self._read(storage.usage, self.config, record)
        if used is not None:
            extra["storage"] = used
        if record.damage:
            extra["damage"] = record.damage
        return {**to_json(record), **extra, "paths": paths}

    async def due_at_boot(self) -> list[ContainerRef]:
        await self._ready()
        return await self._complete(self._due_at_boot)

    def _due_at_boot(self) -> list[ContainerRef]:
        boot = procfs.boot_id()
        known = (record for record in map(self._repaired, self._store.all()) if record is not None)
        return [ContainerRef(KEY, record.id) for record in known if reconcile.is_due_at_boot(record, boot)]

    async def images(self) -> list[Image]:
        return [await self._read(host.image)]

    async def import_image(self, name: str, rootfs: bytes) -> Image:
        raise UnsupportedError(f"import {len(rootfs)} bytes as image {name!r}", detail=requirements.IMPORT)

    async def remove_image(self, name: str) -> None:
        raise UnsupportedError(f"remove image {name!r}", detail=requirements.IMPORT)

    # -- changing

    async def _change(self, verb: Verb, function: Callable[..., T], *arguments: Any) -> T:
        await self._ready()
        if self._capabilities is None:
            self._capabilities = await self.capabilities()
        reason = self._capabilities.why_not(verb)
        if reason is not None:
            raise UnsupportedError(f"{verb} a container of the embedded engine", detail=reason)
        return await self._complete(function, *arguments)

    async def create(self, spec: ContainerSpec) -> ContainerRef:
        record = await self._change(Verb.CREATE, self._verbs.create, spec)
        return ContainerRef(KEY, record.id)

    async def start(self, key: str) -> None:
        await self._change(Verb.START, self._verbs.start, key)

    async def stop(self, key: str, *, timeout: float | None = None) -> None:
        await self._change(Verb.STOP, lambda: None)
        record: ContainerRecord = await self._read(self._store.find, key)
        with suppress(NotFoundError):  # removed by itself at its end
            await self._stop(record, record.spec.stop_timeout if timeout is None else timeout)

    async def _stop(self, record: ContainerRecord, timeout: float) -> None:
        take = guarded(self.config, self._take, record)
        held = await threads.acquiring(take, os.close, threads.Kind.WAIT)
        try:
            record = await self._act(self._store.read, record.id)
            if not (record.state.live or record.state is State.RESTARTING):
                return
            await self._act(self._verbs.begin_stop, record)
            if not await self._ended(record.id, timeout):
                await self._act(self._verbs.signal, record, signal.SIGKILL)
                if not await self._ended(record.id, _KILL_TIMEOUT_S):
                    raise ConflictError(f"{record.spec.name} does not end", detail="its processes cannot be killed")
        finally:
            os.close(held)

    def _take(self, record: ContainerRecord) -> int:
        """Take a container's operation lock and make its record true."""
        held = self._store.operation(record.id)
        assert held is not None
        try:
            reconcile.repaired(self._store, self._verbs.hierarchies, self._store.read(record.id))
        except PytopError:
            os.close(held)
            raise
        return held

    async def restart(self, key: str, *, timeout: float | None = None) -> None:
        await self._change(Verb.RESTART, lambda: None)
        record: ContainerRecord = await self._read(self._store.find, key)
        await self.stop(record.id, timeout=timeout)
        await self.start(record.id)

    async def kill(self, key: str, signal: str = "SIGKILL") -> None:
        await self._change(Verb.KILL, self._verbs.kill, key, signal)

    async def pause(self, key: str) -> None:
        await self._change(Verb.PAUSE, self._verbs.pause, key)

    async def unpause(self, key: str) -> None:
        await self._change(Verb.UNPAUSE, self._verbs.unpause, key)

    async def remove(self, key: str, *, force: bool = False) -> None:
        def remove() -> None:
            self._verbs.remove(key, force=force)

        await self._change(Verb.REMOVE, remove)

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        if not change:
            raise InvalidError(f"change limits of container {key}", detail="nothing was asked for")
        return await self._change(Verb.UPDATE, self._verbs.update, key, change)

    # -- following

    async def wait(self, key: str) -> int:
        await self._ready()
        record: ContainerRecord = await self._read(self._store.find, key)
        kept = await threads.acquiring(lambda: self._open_exit(record), _close, threads.Kind.WAIT)
        try:
            await self._ended(record.id, None)
            with suppress(NotFoundError):
                after: ContainerRecord = await self._read(self._store.read, record.id)
                if after.exit_code is not None:
                    return after.exit_code
            if kept is None:
                return 0  # it was never started
            code = shim.exit_status(os.pread(kept, EXIT_BYTES, 0).decode())
            return shim.KILLED if code is None else code  # removed by force: init was killed before it wrote a status
        finally:
            if kept is not None:
                os.close(kept)

    def _open_exit(self, record: ContainerRecord) -> int | None:
        """Init's exit file, kept open, since the container may be removed when it ends."""
        try:
            return os.open(self.config.live(record.id) / "exit", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None

    async def _ended(self, container_id: str, timeout: float | None) -> bool:
        """Wait until the container has ended or was removed; False after `timeout` seconds.

        A shim that is killed meanwhile is replaced.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with closing(watch_or_wait(self.config.records, RECORDS)) as watch:
            while True:
                try:
                    record: ContainerRecord = await self._act(self._repaired_record, container_id)
                except NotFoundError:
                    return True
                if not (record.state.live or record.state is State.RESTARTING):
                    return True
                left = (
                    _RECHECK_INTERVAL_S if deadline is None else min(_RECHECK_INTERVAL_S, deadline - time.monotonic())
                )
                if left <= 0:
                    return False
                await watch.changed(left)

    def _repaired_record(self, container_id: str) -> ContainerRecord:
        found = self._repaired(self._store.read(container_id))
        if found is None:
            raise NotFoundError(f"There is no container {container_id[:12]} (any more)")
        return found

    async def logs(self, key: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogLine]:
        await self._ready()
        record: ContainerRecord = await self._read(self._store.find, key)
        path = self.config.log(record.id)
        open_log = guarded(self.config, lambda: cri_log.Reader(path, tail=tail))
        # The last line is in the log before the end is on record.
        ends = (self.config.records, RECORDS)
        with (
            closing(watch_or_wait(path.parent, LOGS, ends) if follow else NoWatch()) as watch,
            closing(await threads.acquiring(open_log, cri_log.Reader.close, threads.Kind.WAIT)) as reader,
        ):
            while True:
                over = not follow or await self._over(record.id)
                while lines := await self._complete(reader.read):
                    for line in lines:
                        yield line
                if over:
                    return
                await watch.changed(_RECHECK_INTERVAL_S)

    async def _over(self, container_id: str) -> bool:
        """Whether the log is complete."""
        try:
            record: ContainerRecord = await self._complete(self._repaired_record, container_id)
        except NotFoundError:
            return True
        return record.state in (State.EXITED, State.DEAD, State.REMOVING)

    async def events(self) -> AsyncIterator[Event]:
        await self._ready()
        if os.geteuid() == 0:
            await self._complete(self._store.prepare)
        while not await self._read(self.config.records.is_dir):  # noqa: ASYNC110  (inotify needs the directory)
            await asyncio.sleep(_RECHECK_INTERVAL_S)
        with closing(require_watch(self.config.records, RECORDS)) as watch:
            known = {record.id: record for record in await self._read(self._store.all)}
            while True:
                for name in sorted(await watch.changed()):
                    container_id = name.removesuffix(".json")
                    if len(container_id) != 64:
                        continue
                    before, after = known.get(container_id), await self._read(self._peek, container_id)
                    if after is None:
                        known.pop(container_id, None)
                    else:
                        known[container_id] = after
                    for kind in event_kinds(before, after):
                        yield Event(kind, ContainerRef(KEY, container_id), time.time_ns())

    def _peek(self, container_id: str) -> ContainerRecord | None:
        with suppress(NotFoundError):
            return self._store.read(container_id)
        return None

    # -- close

    async def close(self) -> None:
        """Nothing is held open between calls; containers and their shims go on."""

    async def destroy(self) -> None:
        """Remove everything of this instance: containers, zygote, bridge, cgroups, files."""
        await self._complete(self._verbs.destroy)


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _placed(record: ContainerRecord) -> Container:
    """The container with the path of its cgroup; its processes may be in a descendant."""
    found = record.container()
    if found.pid is None:
        return found
    own = own_cgroup.own_path(found.pid, record.id)
    if own or not (why := own_cgroup.why_not_own(found.pid)):
        return replace(found, cgroup=own)
    return replace(found, cgroup=own_cgroup.NO_OWN, unplaced=why)
