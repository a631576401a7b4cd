"""One change of a container's limits at a time on this machine, across all processes of one user of this program.

A change by an engine's daemon is completed by our own writes and then read back; two at once would mix, or leave a
record that differs from the kernel. The lock is in `run_directory`, where no container and no other user can take it: a
container could lock its cgroup's directory, or a file in it, and forbid that it is limited. It is one byte of one file,
chosen by the cgroup's device and inode, so that nothing is left behind by whatever ended. The kernel releases it with
its holder. Source: fcntl_locking(2), open file description locks.

A lock that cannot be had stops no change: who is contained must not wait for who is stuck. The change is made, and its
outcome says that it was made without the lock.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from runtime.kernel import threads
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import lock_file
from runtime.limits.lock_file import LOCK_TIMEOUT_S, RETRY_INTERVAL_S
from runtime.model import LimitOutcome

log = logging.getLogger(__name__)


@asynccontextmanager
async def change_lock(
    what: Cgroup | Path | None, title: str, *, timeout_s: float = LOCK_TIMEOUT_S
) -> AsyncIterator[str]:
    """Hold the lock of a container by its cgroup, or by another directory where it has none.

    Gives "", or in words why the lock is not held: another process still had it after `timeout_s` seconds, or the lock
    file cannot be opened. `with_warning` puts that into an outcome.
    """
    offset = await threads.acting(lock_file.offset_of, what)
    if offset is None:
        yield ""
        return
    try:
        held = await threads.acquiring(lock_file.open_file, os.close)
    except OSError as error:
        reason = lock_file.refused(error)
        log.warning("%s: %s", title, reason)
        yield reason
        return
    try:
        deadline = time.monotonic() + timeout_s
        reason = ""
        while not reason and not lock_file.taken(held, offset):
            if time.monotonic() > deadline:
                reason = lock_file.not_waited_for(timeout_s)
                log.warning("%s: %s", title, reason)
            else:
                await asyncio.sleep(RETRY_INTERVAL_S)
        yield reason
    finally:
        os.close(held)


def with_warning(outcome: LimitOutcome, reason: str) -> LimitOutcome:
    """The outcome with the reason why it was made without the lock at each limit; unchanged for ""."""
    if not reason:
        return outcome
    fields = (replace(field, detail="; ".join(filter(None, (field.detail, reason)))) for field in outcome.fields)
    return replace(outcome, fields=tuple(fields))
