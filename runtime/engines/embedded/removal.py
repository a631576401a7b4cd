"""Taking a container away for good, in an order that can be cut short anywhere and be done again."""

from __future__ import annotations

import shutil
from dataclasses import replace

from runtime.engines.embedded.config import NativeConfig
from runtime.engines.embedded.sandbox import cgroup
from runtime.engines.embedded.state.record import Record
from runtime.engines.embedded.state.store import Store
from runtime.errors import KernelError, NotFoundError
from runtime.kernel import filesystems
from runtime.kernel.cgroupfs import Hierarchies
from runtime.model import State


def erase(store: Store, hierarchies: Hierarchies, record: Record) -> None:
    """Remove everything of a container that does not run. Idempotent.

    The record says REMOVING first, so that a removal that was killed half-way is finished by the next engine that
    looks, and goes last but for the locks. A disk that cannot take that word may still let go of files, which frees it.
    Raises `KernelError` when the record cannot be removed; everything else that could be is gone then.
    """
    try:
        store.change(record.id, lambda current: replace(current, state=State.REMOVING, pid=None, pid_start=None))
    except NotFoundError:
        return
    except KernelError as error:
        if not filesystems.refuses(error):
            raise
    config = store.config
    cgroup.release(config, hierarchies, record)
    shutil.rmtree(config.data(record.id), ignore_errors=True)
    try:
        store.forget(record.id)
    except OSError as error:
        if not filesystems.refuses(error):
            raise
        title = f"remove the files of container {record.spec.name}, which does not run any more"
        raise filesystems.refused(title, error, config.record(record.id)) from error
    shutil.rmtree(config.live(record.id), ignore_errors=True)


def erase_instance(config: NativeConfig) -> None:
    """Remove the directories of an instance that has no containers any more."""
    shutil.rmtree(config.state, ignore_errors=True)
    shutil.rmtree(config.run, ignore_errors=True)
