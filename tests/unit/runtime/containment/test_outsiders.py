"""A process as a lease: every thread, taken back as it was; and the sentence why not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from runtime.containment import audit, ending, leases, outsiders, scheduling, store
from runtime.containment.lease import LeaseState
from runtime.errors import ConflictError, DeniedError, InvalidError, NotFoundError, RefusedError
from runtime.kernel import procfs
from runtime.model import LimitChange

THREADS = """
import sys, threading, time
for _ in range(3):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hog() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", THREADS], stdin=-1, stdout=-1) as started:
        assert started.stdout is not None
        started.stdout.readline()
        yield started.pid
        started.kill()


def needs_right_to_raise() -> None:
    if os.geteuid() != 0:
        pytest.skip("taking back a priority needs root")


async def test_every_thread_gets_the_idle_policy_and_what_it_had_before(hog: int) -> None:
    needs_right_to_raise()
    other = scheduling.threads(hog)[-1]
    os.setpriority(os.PRIO_PROCESS, other, 12)
    before = scheduling.read_all(hog)
    assert len(before) == 4
    lease = await outsiders.take_process(hog, seconds=60, reason="test")
    assert all(scheduling.holds(each, scheduling.idle(0)) for each in scheduling.read_all(hog))
    with pytest.raises(ConflictError, match="holds a lease of it"):
        await outsiders.take_process(hog, seconds=60)
    ended = await leases.revert(lease.id)
    assert ended.state is LeaseState.REVERTED
    assert scheduling.read_all(hog) == before
    assert [each.action for each in audit.read(lease=lease.id)] == [audit.LEASE, audit.TAKE_BACK]


async def test_a_nice_value_and_a_thread_that_somebody_else_has_changed(hog: int) -> None:
    needs_right_to_raise()
    nice = os.getpriority(os.PRIO_PROCESS, hog)
    lease = await outsiders.take_process(hog, seconds=60, nice=nice + 2)
    assert {each.nice for each in scheduling.read_all(hog)} == {nice + 2}
    other = scheduling.threads(hog)[-1]
    os.setpriority(os.PRIO_PROCESS, other, nice + 1)
    ended = await leases.revert(lease.id)
    assert ended.state is LeaseState.CONFLICT
    assert f"its threads {other}" in ended.result
    assert [each.nice for each in scheduling.read_all(hog)] == [nice, nice, nice, nice + 1]


async def test_a_process_that_has_ended_or_whose_pid_is_another_one_is_left_alone(hog: int) -> None:
    needs_right_to_raise()
    lease = await outsiders.take_process(hog, seconds=60)
    store.write(replace(lease, pid_started=(lease.pid_started or 0) + 1))
    ended = ending.end(lease.id)
    assert ended is not None
    assert ended.state is LeaseState.GONE
    assert all(scheduling.holds(each, scheduling.idle(0)) for each in scheduling.read_all(hog))
    with pytest.raises(NotFoundError):
        await outsiders.take_process(2**22 + 1, seconds=60)


async def test_why_not(hog: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RefusedError, match="process 1"):
        await outsiders.take_process(1, seconds=60)
    for pid in (os.getpid(), os.getppid()):
        with pytest.raises(RefusedError, match="what it was started from"):
            await outsiders.take_process(pid, seconds=60)
    with pytest.raises(InvalidError):
        await outsiders.take_process(hog, seconds=60, nice=20)
    with pytest.raises(InvalidError):
        await outsiders.take_unit("/docker/abc", LimitChange(cpus=1.0), seconds=60)
    with pytest.raises(NotFoundError, match="does not run"):
        await outsiders.take_unit("/system.slice/no-such.service", LimitChange(cpus=1.0), seconds=60)
    monkeypatch.setattr(procfs, "own_capabilities", lambda: 0)
    with pytest.raises(DeniedError, match="could not be taken back"):
        await outsiders.take_process(hog, seconds=60)
    monkeypatch.setattr(procfs, "uids", lambda _: frozenset({4711}))
    with pytest.raises(DeniedError, match="another user's"):
        await outsiders.take_process(hog, seconds=60)
    assert store.read_all() == ()


async def test_a_kernel_thread_and_a_real_time_process_are_refused(hog: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if procfs.status(2).get("Name") == "kthreadd":
        with pytest.raises(RefusedError, match="thread of the kernel"):
            await outsiders.take_process(2, seconds=60)
    found = [replace(each, policy=os.SCHED_FIFO) for each in scheduling.read_all(hog)]
    monkeypatch.setattr(scheduling, "read_all", lambda _: tuple(found))
    monkeypatch.setattr(procfs, "own_capabilities", lambda: -1)
    with pytest.raises(RefusedError, match="real time"):
        await outsiders.take_process(hog, seconds=60)
