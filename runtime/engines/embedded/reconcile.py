"""Make records true again after a SIGKILL, a crash or a reboot.

Decided by what the kernel knows: the shim's lock, the pid with start time and boot id, the container's cgroup. Every
function here can be interrupted anywhere and run again.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial

from runtime.engines.embedded import removal
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.images import host
from runtime.engines.embedded.networks import bridge
from runtime.engines.embedded.process import handles, launcher, shim
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.engines.embedded.state import damage, storage
from runtime.engines.embedded.state.record import ContainerRecord
from runtime.engines.embedded.state.store import RecordStore
from runtime.errors import NotFoundError, PytopError
from runtime.kernel import cgroups, filesystems, netlink, procfs
from runtime.kernel.cgroupfs import Hierarchies
from runtime.model import State

REBOOTED = 255
"""Exit status of a container that ran when the host went down."""
_SHIM_TIMEOUT_S = 1.0
"""How long a shim may take to record the end of its init."""
_POLL_INTERVAL_S = 0.005


def is_due_at_boot(record: ContainerRecord, boot_id: str) -> bool:
    """Whether it ran before this boot only, and its policy starts it again; `record` is repaired."""
    if record.state not in (State.EXITED, State.DEAD) or record.boot_id in ("", boot_id):
        return False
    policy = record.spec.restart_policy
    return policy == "always" or (policy == "unless-stopped" and not record.stop_wanted)


def repair(store: RecordStore, hierarchies: Hierarchies, record: ContainerRecord) -> None:
    """Make one container's record true. Call it with the operation lock held, unless the container is live.

    A container whose shim was killed gets another one. An interrupted start is undone, an interrupted removal finished.
    """
    if _of_another_boot(record):
        record = store.change(record.id, partial(_after_reboot, store, hierarchies), durable=True)
        if not record.state.live:
            return
    if not (record.state.live or record.starting or record.state in (State.RESTARTING, State.REMOVING)):
        return
    held = store.shim_lock(record.id, wait=0)
    if held is None:
        return  # its shim lives and records the state itself
    try:
        record = store.read(record.id)
        if record.state is State.REMOVING:
            removal.erase(store, hierarchies, record)
            return
        if record.starting and not record.state.live and record.state is not State.RESTARTING:
            sandbox_cgroup.release(store.config, hierarchies, record)
            store.change(record.id, lambda current: replace(current, starting=False))
            return
    except NotFoundError:
        return
    finally:
        os.close(held)
    if record.state.live or record.state is State.RESTARTING:
        launcher.request_shim(store.config, "attach", record)


def _of_another_boot(record: ContainerRecord) -> bool:
    """Whether the record says that the container runs, and was written before the host was restarted."""
    runs = record.state.live or record.state is State.RESTARTING
    return runs and bool(record.boot_id) and record.boot_id != procfs.boot_id()


def _after_reboot(store: RecordStore, hierarchies: Hierarchies, current: ContainerRecord) -> ContainerRecord:
    """The record after a reboot, as it is under its lock: another process may have started the container by now.

    Where the record is a copy of an older one (the state directory was restored), the container may run: what is in its
    cgroup and whether it has a shim decide.
    """
    if not _of_another_boot(current):
        return current
    running = damage.as_running(current, sandbox_cgroup.find(hierarchies, store.config.cgroup_of(current.id)))
    if running is not None:
        return running
    held = store.shim_lock(current.id, wait=0)
    if held is None:
        return current  # its shim records the end
    os.close(held)
    return current.ended(REBOOTED, now_ns=time.time_ns(), error="the host was restarted")


def adopt(store: RecordStore, hierarchies: Hierarchies, record: ContainerRecord) -> ContainerRecord:
    """The record of a container that runs although it says otherwise, as that of a copied or restored state directory.

    A start and a removal that are under way are not such a case: they say so in the record before they begin.
    """
    if not _may_be_adopted(record):
        return record
    cgroup = sandbox_cgroup.find(hierarchies, store.config.cgroup_of(record.id))
    if not cgroups.exists(cgroup):
        return record

    def change(current: ContainerRecord) -> ContainerRecord:
        running = damage.as_running(current, cgroup) if _may_be_adopted(current) else None
        return current if running is None else replace(running, stop_wanted=False, error="")

    return store.change(record.id, change)


def _may_be_adopted(record: ContainerRecord) -> bool:
    ended = record.state in (State.CREATED, State.EXITED)
    return ended and not record.starting and not record.damage


def remove_left_cgroup(store: RecordStore, hierarchies: Hierarchies, record: ContainerRecord) -> None:
    """Remove the cgroups of one that does not run, where nobody is in them.

    They are left by a helper process that was killed while its end was already being cleaned up. Where another process
    works on the container, nothing is done.
    """
    if not _may_be_adopted(record):
        return
    cgroup = sandbox_cgroup.find(hierarchies, store.config.cgroup_of(record.id))
    if not cgroups.exists(cgroup) or cgroups.known_pids(cgroup) != frozenset():
        return
    with ExitStack() as locks:
        for lock in (store.operation, store.shim_lock):
            held = lock(record.id, wait=0)
            if held is None:
                return
            locks.callback(os.close, held)
        if _may_be_adopted(store.read(record.id)):
            cgroups.remove(cgroup)


def repaired(store: RecordStore, hierarchies: Hierarchies, record: ContainerRecord) -> ContainerRecord:
    """Make the record true (see `repair`) and return it.

    Where the disk is full or read-only, a container that has ended is returned as ended, although its file is not.
    """
    try:
        if store.unsaved(record.id):
            store.change(record.id, lambda current: current)
        repair(store, hierarchies, adopt(store, hierarchies, store.read(record.id)))
    except (OSError, PytopError) as error:
        if not filesystems.refuses(error):
            raise
    return _observed(store, store.read(record.id))


def _observed(store: RecordStore, record: ContainerRecord) -> ContainerRecord:
    """The record; where its init has ended and no shim is there to record that, as the shim will write it."""
    deadline = time.monotonic() + _SHIM_TIMEOUT_S
    while record.state.live and time.monotonic() < deadline:
        init = handles.open_init(record)
        if init is not None:
            os.close(init)
            return record
        held = store.shim_lock(record.id, wait=0)
        if held is not None:
            os.close(held)
            again = store.read(record.id)
            if again != record:  # its shim has recorded the end, and ended
                record = again
                continue
            code = shim.read_exit(store.config, record.id)
            return record.ended(shim.KILLED if code is None else code, now_ns=time.time_ns())
        time.sleep(_POLL_INTERVAL_S)
        record = store.read(record.id)
    return record


def repair_unless_busy(
    store: RecordStore, hierarchies: Hierarchies, record: ContainerRecord, present: Collection[str] | None = None
) -> ContainerRecord | None:
    """Make the record true, unless another process holds the operation lock; returns it, None when it was removed.

    `present` are the ids that have a cgroup (`with_cgroup`), for a caller that has many records. Takes microseconds
    where there is nothing to repair.
    """
    with suppress(NotFoundError):
        if record.state.live or record.state is State.RESTARTING:
            return repaired(store, hierarchies, record)
        if present is None or record.id in present:
            record = adopt(store, hierarchies, record)
            if record.state.live:
                return repaired(store, hierarchies, record)
            remove_left_cgroup(store, hierarchies, record)
        if not record.starting and record.state is not State.REMOVING and not store.unsaved(record.id):
            return record
        held = store.operation(record.id, wait=0)
        if held is None:
            return record  # another process works on it
        try:
            return repaired(store, hierarchies, record)
        finally:
            os.close(held)
    return None


def repair_each(
    store: RecordStore, hierarchies: Hierarchies, records: Iterable[ContainerRecord]
) -> list[ContainerRecord]:
    """`repair_unless_busy` for each; those that were removed meanwhile are left out.

    One that cannot be repaired is as its record says, with the reason as its error.
    """
    present = with_cgroup(store.config, hierarchies)
    found = []
    for record in records:
        try:
            true = repair_unless_busy(store, hierarchies, record, present)
        except PytopError as error:
            true = replace(record, error=f"its record may be out of date: {error}")
        if true is not None:
            found.append(true)
    return found


def repair_all(store: RecordStore, hierarchies: Hierarchies) -> None:
    """Make every record true, then remove orphans."""
    repair_each(store, hierarchies, store.all())
    try:
        remove_orphans(store, hierarchies)
    except (OSError, PytopError) as error:
        if not filesystems.refuses(error):
            raise


def remove_orphans(store: RecordStore, hierarchies: Hierarchies) -> None:
    """Remove cgroups, directories and interfaces of this instance that belong to no record."""
    config = store.config
    with store.locked():
        known = set(store.ids())
        for path in with_cgroup(config, hierarchies) - known:
            cgroup = sandbox_cgroup.find(hierarchies, config.cgroup_of(path))
            cgroups.kill_all(cgroup)
            cgroups.remove(cgroup)
        for parent in (config.state / "data", config.run):
            for name in os.listdir(parent):
                if len(name) == 64 and name not in known:
                    storage.free(config, name)
                    shutil.rmtree(parent / name, ignore_errors=True)
        store.sweep_temporaries()
        host.sweep(config.state, in_use=any(record.state.live for record in store.all()))
    if netlink.unavailable() is None and (procfs.PROC.parent / "sys/class/net" / config.bridge).exists():
        with suppress(PytopError):
            bridge.sweep_orphans(config.bridge, sorted(known))


def with_cgroup(config: EmbeddedConfig, hierarchies: Hierarchies) -> set[str]:
    """The ids for which there is a cgroup in any hierarchy."""
    found: set[str] = set()
    for directory in sandbox_cgroup.find(hierarchies, config.cgroup).directories:
        with suppress(FileNotFoundError, NotADirectoryError):
            found |= {entry.name for entry in os.scandir(directory) if entry.is_dir() and len(entry.name) == 64}
    return found
