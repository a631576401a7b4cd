"""Taking a container away for good, in an order that can be cut short anywhere and be done again."""

from __future__ import annotations

import shutil
from dataclasses import replace

from runtime.errors import NotFoundError
from runtime.kernel.cgroupfs import Hierarchies
from runtime.model import State
from runtime.native import cell
from runtime.native.config import NativeConfig
from runtime.native.record import Record
from runtime.native.store import Store


def erase(store: Store, hierarchies: Hierarchies, record: Record) -> None:
    """Remove everything of a container that does not run. Idempotent.

    The record says REMOVING first, so that a removal that was killed half-way is finished by the next engine that
    looks, and goes last but for the locks.
    """
    try:
        store.change(record.id, lambda current: replace(current, state=State.REMOVING, pid=None, pid_start=None))
    except NotFoundError:
        return
    config = store.config
    cell.release(config, hierarchies, record)
    shutil.rmtree(config.data(record.id), ignore_errors=True)
    store.forget(record.id)
    shutil.rmtree(config.live(record.id), ignore_errors=True)


def erase_instance(config: NativeConfig) -> None:
    """Remove the directories of an instance that has no containers any more."""
    shutil.rmtree(config.state, ignore_errors=True)
    shutil.rmtree(config.run, ignore_errors=True)
