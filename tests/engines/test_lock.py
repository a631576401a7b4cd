"""A container cannot delay that it is limited: root in it locks whatever it can open of its own cgroup.

Looked for in the same way: found containers and groups, which take the same lock (`tests/unit/core/test_groups.py`);
the embedded engine's own locks, which are in its run directory.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from contextlib import suppress

from runtime.kernel import cgroupfs, own_cgroup
from runtime.limits import lock
from runtime.model import LimitChange
from tests.engines.subject import Needs, Subject

LOCK_ALL = """
for place in /sys/fs/cgroup /sys/fs/cgroup/*; do
    test -d $place && flock -n $place sleep 1000 &
done
while :; do sleep 0.1; done
"""
PROMPT_S = lock.LOCK_TIMEOUT_S / 2


def locked(pid: int) -> list[int]:
    """Descriptors by which every directory of its cgroup is locked: by the container, or here for it.

    Busybox has no flock, and on a hybrid host some engines do not show the v2 directory inside.
    """
    held = []
    for directory in own_cgroup.locate(cgroupfs.detect(), pid).directories:
        held.append(os.open(directory, os.O_RDONLY))
        with suppress(BlockingIOError):
            fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    return held


async def test_a_container_that_locks_its_own_cgroup_is_limited_at_once(subject: Subject) -> None:
    subject.need(Needs.CGROUPS)
    ref = await subject.run(LOCK_ALL)
    pid = (await subject.engine.get(ref.id)).pid
    assert pid is not None
    held = await asyncio.to_thread(locked, pid)
    try:
        began = time.monotonic()
        outcome = await subject.engine.update(ref.id, LimitChange(cpus=0.2))
        assert time.monotonic() - began < PROMPT_S
        assert outcome.ok, outcome
        assert not any("client" in field.detail for field in outcome.fields), outcome
    finally:
        for descriptor in held:
            os.close(descriptor)
