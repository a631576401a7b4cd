"""After a kill -9, a crash or a reboot: bring records and reality together again.

Judged by what cannot lie: the shim's lock, the pid with its start time and boot, the container's cgroup.
Everything here can be cut short and done again.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from dataclasses import replace

from runtime.engines.embedded import removal
from runtime.engines.embedded.config import NativeConfig
from runtime.engines.embedded.networks import bridge
from runtime.engines.embedded.process import handles, launcher, shim
from runtime.engines.embedded.sandbox import cgroup as cell
from runtime.engines.embedded.state.record import Record
from runtime.engines.embedded.state.store import Store
from runtime.errors import NotFoundError, PytopError
from runtime.kernel import cgroups, filesystems, netlink, procfs
from runtime.kernel.cgroupfs import Hierarchies
from runtime.model import State

REBOOTED = 255
"""Exit status of a container that ran when the host went down."""
_SHIM_PATIENCE_S, _STEP_S = 1.0, 0.005


def settle(store: Store, hierarchies: Hierarchies, record: Record) -> None:
    """Make one container's record true; with its operation lock held, unless it is live.

    A container whose shim was killed gets another one. A start that was cut short is undone, a removal finished.
    """
    rebooted = bool(record.boot_id) and record.boot_id != procfs.boot_id()
    if (record.state.live or record.state is State.RESTARTING) and rebooted:
        change = record.ended(REBOOTED, now_ns=time.time_ns(), error="the host was restarted")
        store.change(record.id, lambda current: replace(change, spec=current.spec), durable=True)
        return
    if not (record.state.live or record.starting or record.state in (State.RESTARTING, State.REMOVING)):
        return
    held = store.shim_lock(record.id, wait=0)
    if held is None:
        return  # its shim lives, and does all this itself
    try:
        record = store.read(record.id)
        if record.state is State.REMOVING:
            removal.erase(store, hierarchies, record)
            return
        if record.starting and not record.state.live and record.state is not State.RESTARTING:
            cell.release(store.config, hierarchies, record)
            store.change(record.id, lambda current: replace(current, starting=False))
            return
    except NotFoundError:
        return
    finally:
        os.close(held)
    if record.state.live or record.state is State.RESTARTING:
        launcher.ask(store.config, "attach", record)


def settled(store: Store, hierarchies: Hierarchies, record: Record) -> Record:
    """The container as it is, its record made true as far as the disk takes it; see `settle`.

    Where it takes nothing, what ended is told as ended although its record does not say so.
    """
    try:
        if store.unsaved(record.id):
            store.change(record.id, lambda current: current)
        settle(store, hierarchies, store.read(record.id))
    except (OSError, PytopError) as error:
        if not filesystems.refuses(error):
            raise
    return _observed(store, store.read(record.id))


def _observed(store: Store, record: Record) -> Record:
    """The record, unless its init is gone and no shim is there to write that down: then as it will be written."""
    deadline = time.monotonic() + _SHIM_PATIENCE_S
    while record.state.live and time.monotonic() < deadline:
        init = handles.open_init(record)
        if init is not None:
            os.close(init)
            return record
        held = store.shim_lock(record.id, wait=0)
        if held is not None:
            os.close(held)
            again = store.read(record.id)
            if again != record:  # its shim has written, and ended
                record = again
                continue
            code = shim.read_exit(store.config, record.id)
            return record.ended(shim.KILLED if code is None else code, now_ns=time.time_ns())
        time.sleep(_STEP_S)
        record = store.read(record.id)
    return record


def heal(store: Store, hierarchies: Hierarchies, record: Record) -> Record | None:
    """The container's record, made true first if nobody else is doing it; None when it is gone.

    Some microseconds when there is nothing to heal.
    """
    with suppress(NotFoundError):
        if record.state.live or record.state is State.RESTARTING:
            return settled(store, hierarchies, record)
        if not record.starting and record.state is not State.REMOVING and not store.unsaved(record.id):
            return record
        held = store.operation(record.id, wait=0)
        if held is None:
            return record  # somebody is busy with it
        try:
            return settled(store, hierarchies, record)
        finally:
            os.close(held)
    return None


def everything(store: Store, hierarchies: Hierarchies) -> None:
    """Heal every container, then remove what belongs to none."""
    for record in store.all():
        heal(store, hierarchies, record)
    try:
        sweep(store, hierarchies)
    except (OSError, PytopError) as error:
        if not filesystems.refuses(error):
            raise


def sweep(store: Store, hierarchies: Hierarchies) -> None:
    """Remove cgroups, directories and interfaces of this instance that no record speaks of."""
    config = store.config
    with store.locked():
        known = set(store.ids())
        for path in _orphans(config, hierarchies, known):
            cgroup = cell.find(hierarchies, config.cgroup_of(path))
            cgroups.kill_all(cgroup)
            cgroups.remove(cgroup)
        for parent in (config.state / "data", config.run):
            for name in os.listdir(parent):
                if len(name) == 64 and name not in known:
                    shutil.rmtree(parent / name, ignore_errors=True)
        store.sweep_temporaries()
    if netlink.unavailable() is None and (procfs.PROC.parent / "sys/class/net" / config.bridge).exists():
        with suppress(PytopError):
            bridge.sweep_orphans(config.bridge, sorted(known))


def _orphans(config: NativeConfig, hierarchies: Hierarchies, known: set[str]) -> set[str]:
    found: set[str] = set()
    for directory in cell.find(hierarchies, config.cgroup).directories:
        with suppress(FileNotFoundError, NotADirectoryError):
            found |= {entry.name for entry in os.scandir(directory) if entry.is_dir() and len(entry.name) == 64}
    return found - known
