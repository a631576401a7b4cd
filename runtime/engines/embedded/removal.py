"""Removal of a container, in an order that can be interrupted anywhere and run again."""

from __future__ import annotations

import shutil
from dataclasses import replace

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.sandbox import cgroup
from runtime.engines.embedded.state import storage
from runtime.engines.embedded.state.record import ContainerRecord
from runtime.engines.embedded.state.store import RecordStore
from runtime.errors import KernelError, NotFoundError
from runtime.kernel import filesystems
from runtime.kernel.cgroupfs import Hierarchies
from runtime.model import State


def erase(store: RecordStore, hierarchies: Hierarchies, record: ContainerRecord) -> None:
    """Remove everything of a container that does not run. Idempotent.

    The record's state becomes REMOVING first, so that an interrupted removal is finished by the next client that reads
    it; its file is removed last but for the locks. Where a full disk refuses the change of state, removing files may
    still work and makes room. Raises `KernelError` when the record's file cannot be removed; all else is gone then.
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
    storage.free(config, record.id)
    shutil.rmtree(config.data(record.id), ignore_errors=True)
    try:
        store.forget(record.id)
    except OSError as error:
        if not filesystems.refuses(error):
            raise
        title = f"remove the files of container {record.spec.name}, which does not run any more"
        raise filesystems.refused(title, error, config.record(record.id)) from error
    shutil.rmtree(config.live(record.id), ignore_errors=True)


def erase_instance(config: EmbeddedConfig) -> None:
    """Remove the directories of an instance that has no containers any more."""
    shutil.rmtree(config.state, ignore_errors=True)
    shutil.rmtree(config.run, ignore_errors=True)
