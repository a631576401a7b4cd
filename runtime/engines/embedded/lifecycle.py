"""The verbs of the embedded engine, blocking, each under the container's operation lock."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from runtime.engines.embedded import limits, reconcile, removal
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.images import host
from runtime.engines.embedded.networks import bridge
from runtime.engines.embedded.process import handles, launcher, runtime_cgroup, zygote_socket
from runtime.engines.embedded.sandbox import bind_targets
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.engines.embedded.state import damage, run_files, storage
from runtime.engines.embedded.state.record import ContainerRecord, parse_policy
from runtime.engines.embedded.state.store import RecordStore, check_name, lock
from runtime.errors import ConflictError, InvalidError, KernelError, NotFoundError, UnsupportedError
from runtime.kernel import cgroupfs, cgroups, filesystems, netlink
from runtime.kernel.signals import parse_signal
from runtime.model import (
    Bind,
    ContainerSpec,
    LimitChange,
    LimitOutcome,
    Limits,
    State,
)
from runtime.oci import users

_SHIM_EXIT_TIMEOUT_S = 10.0
_RESERVED_FDS = 16
"""More than the client's part of a start, and of the removal after it, has open at once."""


class Lifecycle:
    """Blocking verbs; call them in a thread. Every `key` is an id, a name, or the beginning of an id."""

    def __init__(self, config: EmbeddedConfig) -> None:
        self.config = config
        self.store = RecordStore(config)
        self.hierarchies = cgroupfs.detect()

    @contextmanager
    def _operation(self, key: str) -> Iterator[ContainerRecord]:
        """Hold the container's operation lock; gives its record, made true. Replaces a shim that was killed."""
        found = self.store.find(key)
        held = self.store.operation(found.id)
        assert held is not None
        try:
            yield reconcile.repaired(self.store, self.hierarchies, self.store.read(found.id))
        finally:
            os.close(held)

    # -- create, start, remove

    def create(self, spec: ContainerSpec) -> ContainerRecord:
        checked = check_spec(spec)
        _require_descriptors()
        storage.check(self.config.state, checked.storage_bytes)
        limits.check(checked.limits, checked, self.hierarchies)
        limits.refuse(checked.limits, LimitChange())
        self.store.prepare()

        def make(container_id: str) -> ContainerRecord:
            named = checked if checked.name else replace(checked, name=f"c-{container_id[:12]}")
            return ContainerRecord(container_id, named, time.time_ns())

        return self.store.add(make)

    def start(self, key: str) -> None:
        with self._operation(key) as record:
            self._start(record)

    def _start(self, record: ContainerRecord) -> None:
        if record.state is State.PAUSED:
            raise ConflictError(f"{record.spec.name} is paused", hint="unpause it")
        if record.state.live:
            raise ConflictError(f"{record.spec.name} is running already")
        if record.state is State.REMOVING:
            raise ConflictError(f"{record.spec.name} is being removed")
        if record.state is State.RESTARTING:
            raise ConflictError(f"{record.spec.name} is about to be restarted by its policy", hint="stop it first")
        if record.damage:
            raise damage.refusal(f"start {record.spec.name}", record)
        if "spec" in record.unknown:
            raise UnsupportedError(
                f"start {record.spec.name}",
                detail=f"a newer version has given it {', '.join(record.unknown['spec'])}, which this one cannot do",
                hint="Start it with the newer version",
            )
        run_files.prepare(self.config.live(record.id))
        fresh = replace(record, starting=True, stop_wanted=False, restarts=0)
        self.store.change(record.id, lambda current: replace(fresh, spec=current.spec), unsynced=True)
        for _ in range(2):
            if launcher.request_shim(self.config, "start", record):
                return
            now = self.store.read(record.id)  # the shim was killed; the container may run already
            reconcile.repair(self.store, self.hierarchies, now)
            if self.store.read(record.id).state.live:
                return
        raise KernelError(f"start {record.spec.name}", detail="its helper process was killed, twice")

    def remove(self, key: str, *, force: bool) -> None:
        found = self.store.find(key)
        if force and (found.state.live or found.state is State.RESTARTING):
            self._want_stop(found)
            self.signal(found, signal.SIGKILL)
        with self._operation(found.id) as record:
            if record.state.live or record.state is State.RESTARTING:
                if not force:
                    raise ConflictError(
                        f"{record.spec.name} is {record.state}", hint="stop it first, or remove by force"
                    )
                self._want_stop(record)
                self.signal(record, signal.SIGKILL)
            self._await_shim(record)
            removal.erase(self.store, self.hierarchies, record)

    def _await_shim(self, record: ContainerRecord) -> None:
        deadline = time.monotonic() + _SHIM_EXIT_TIMEOUT_S
        handles.await_shim(self.config.live(record.id), _SHIM_EXIT_TIMEOUT_S)
        held = self.store.shim_lock(record.id, wait=deadline - time.monotonic())
        if held is None:
            raise ConflictError(f"{record.spec.name} does not end", detail="its processes cannot be killed")
        os.close(held)

    # -- signals

    def begin_stop(self, record: ContainerRecord) -> None:
        """Record the stop request and send the stop signal. A paused container is thawed to receive it."""
        self._want_stop(record)
        self.signal(record, parse_signal(record.spec.stop_signal))

    def _want_stop(self, record: ContainerRecord) -> None:
        """Record the stop request. A full disk does not prevent the stop."""

        def change(current: ContainerRecord) -> ContainerRecord:
            state = State.STOPPING if current.state.live else current.state
            return replace(current, stop_wanted=True, state=state)

        self._try_change(record, change)

    def _try_change(self, record: ContainerRecord, change: Callable[[ContainerRecord], ContainerRecord]) -> None:
        """Change a record; a full or read-only disk is ignored, since the processes are changed all the same."""
        try:
            self.store.change(record.id, change)
        except KernelError as error:
            if not filesystems.refuses(error):
                raise

    def signal(self, record: ContainerRecord, number: int) -> None:
        """Send a signal to the container's program through its init. SIGKILL ends init, and so every process in it."""
        record = self.store.read(record.id)
        if record.state is State.RESTARTING:
            self._wake_shim(record)
        init = handles.open_init(record)
        if init is None:
            return
        try:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(init, number)
        finally:
            os.close(init)
        cgroup = sandbox_cgroup.find(self.hierarchies, self.config.cgroup_of(record.id))
        if cgroups.is_frozen(cgroup):
            cgroups.thaw(cgroup)

    def _wake_shim(self, record: ContainerRecord) -> None:
        """End a shim's pause before a restart. The pid in its lock file is valid while the lock is held."""
        path = self.config.live(record.id) / "shim.lock"
        free = lock(path, wait=0)
        if free is not None:
            os.close(free)
            return
        with suppress(ValueError, IndexError, ProcessLookupError):  # it has just started and has not written its pid
            os.kill(int(path.read_text().split()[0]), handles.WAKE)

    def kill(self, key: str, name: str) -> None:
        number = parse_signal(name)
        record = self.store.find(key)
        record = reconcile.repaired(self.store, self.hierarchies, record)
        if not record.state.live:
            raise ConflictError(f"{record.spec.name} is {record.state}", hint="only a running container gets signals")
        if number == signal.SIGKILL:
            self._try_change(record, lambda current: replace(current, stop_wanted=True))
        self.signal(record, number)

    # -- pause, limits

    def pause(self, key: str) -> None:
        with self._operation(key) as record:
            if record.state is not State.RUNNING:
                raise ConflictError(
                    f"{record.spec.name} is {record.state}", hint="only a running container can be paused"
                )
            cgroups.freeze(sandbox_cgroup.find(self.hierarchies, self.config.cgroup_of(record.id)))
            self._switch(record, State.RUNNING, State.PAUSED)

    def unpause(self, key: str) -> None:
        with self._operation(key) as record:
            if record.state is not State.PAUSED:
                raise ConflictError(f"{record.spec.name} is {record.state}, not paused")
            cgroups.thaw(sandbox_cgroup.find(self.hierarchies, self.config.cgroup_of(record.id)))
            self._switch(record, State.PAUSED, State.RUNNING)

    def _switch(self, record: ContainerRecord, before: State, after: State) -> None:
        def change(current: ContainerRecord) -> ContainerRecord:
            return replace(current, state=after) if current.state is before else current

        self._try_change(record, change)

    def update(self, key: str, change: LimitChange) -> LimitOutcome:
        with self._operation(key) as record:

            def keep(held: LimitChange) -> ContainerRecord:
                return self.store.change(record.id, lambda current: current.with_limits(held), durable=True)

            cgroup = sandbox_cgroup.find(self.hierarchies, self.config.cgroup_of(record.id))
            return limits.update(record, change, self.hierarchies, cgroup, keep)

    def recorded(self, key: str) -> Limits:
        """The limits that the next start will set, with defaults for the rest."""
        return limits.persisted_limits(self.store.find(key), self.hierarchies)

    # -- the whole instance

    def destroy(self) -> None:
        """Remove every container and everything else of the instance. Raises for a container that cannot be ended."""
        if not (self.config.state.exists() or self.config.run.exists()):
            return
        for record in self.store.all():
            with suppress(NotFoundError):
                self.remove(record.id, force=True)
        reconcile.remove_orphans(self.store, self.hierarchies)
        zygote_socket.quit_all(self.config)
        if netlink.unavailable() is None:
            bridge.remove_bridge(self.config.bridge)
        runtime_cgroup.remove(self.hierarchies, self.config)
        removal.erase_instance(self.config)


def _require_descriptors() -> None:
    """Raise `KernelError` where a container could be made, and then neither be started nor removed."""
    spare: list[int] = []
    try:
        while len(spare) < _RESERVED_FDS:
            spare.append(os.open("/", os.O_PATH | os.O_CLOEXEC))
    except OSError as error:
        raise KernelError.from_os(
            "create a container", error, hint="Raise the limit of open files: ulimit -n"
        ) from error
    finally:
        for descriptor in spare:
            os.close(descriptor)


def check_spec(spec: ContainerSpec) -> ContainerSpec:
    """The spec with its defaults filled in. Raises `InvalidError` for a wrong one, before anything is made."""
    host.check(spec.image)
    if spec.name:
        check_name(spec.name)
    if not spec.command:
        raise InvalidError("The image 'host' has no program of its own", hint="give a command, for example: sh")
    if spec.network not in ("bridge", "none"):
        raise InvalidError(f"{spec.network!r} is not a network", hint="bridge or none")
    if parse_policy(spec.restart_policy) is None:
        raise InvalidError(
            f"{spec.restart_policy!r} is not a restart policy", hint="no, on-failure[:N], always or unless-stopped"
        )
    if spec.auto_remove and spec.restart_policy not in ("", "no"):
        raise InvalidError("A container cannot be removed at its end and restarted", hint="choose one of the two")
    if "\0" in "".join((*spec.command, *spec.env, *spec.env.values(), spec.workdir, spec.hostname)):
        raise InvalidError("A command, variable or path of the container has a zero byte in it")
    for key in spec.env:
        if not key or "=" in key:
            raise InvalidError(f"{key!r} cannot be the name of a variable", hint="Give NAME=VALUE, with a name")
    parse_signal(spec.stop_signal)
    users.check(spec.user)
    binds: tuple[Bind, ...] = ()
    for bind in spec.binds:
        if not bind.source.startswith("/") or not Path(bind.source).exists():
            raise InvalidError(f"{bind.source!r} cannot be bound", hint="an absolute path that exists on the host")
        clean = bind_targets.check(bind.target, partial(host.read_link, binds=binds))
        binds = (*binds, replace(bind, target=clean))
    return replace(spec, binds=binds)
