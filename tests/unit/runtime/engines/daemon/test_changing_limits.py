"""A change of limits through a daemon: what is read when, what is locked, and what a cancelled one leaves."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Coroutine, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from runtime import limits
from runtime.engines.daemon import changing_limits
from runtime.engines.daemon.changing_limits import LimitChanger
from runtime.engines.daemon.limit_hooks import ChangeContext, DaemonContainer, DaemonLimits
from runtime.engines.daemon.peer import Peer
from runtime.errors import ConflictError, EngineError, PytopError, UnavailableError
from runtime.kernel.cgroupfs import Cgroup, Mode
from runtime.limits import apply, lock_file
from runtime.limits.review.facts import HostFacts
from runtime.model import (
    UNLIMITED,
    Capabilities,
    Container,
    ContainerRef,
    LimitChange,
    LimitName,
    Limits,
    Missing,
    State,
    Verdict,
)
from tests.unit.fake_kernel import FakeKernel

MB = 1 << 20
ID = "0" * 64
FACTS = HostFacts(ncpu=4, cpus="0-3", mems="0", memory_total=8 << 30, swap_total=0, pid_max=32768)
KEPT = (LimitName.CPUS, LimitName.MEMORY, LimitName.PIDS)
Result = TypeVar("Result")


@dataclass
class Daemon(DaemonLimits[Mapping[str, Any]]):
    """Keeps CPUs, memory and tasks in its record, and writes them to the kernel at once; other limits it ignores."""

    cgroup: Cgroup
    record: dict[str, Any] = field(default_factory=lambda: {name.value: UNLIMITED for name in KEPT})
    asked: list[str] = field(default_factory=list)
    irrevocable: bool = False
    fails: PytopError | None = None
    fails_after: bool = False
    away: bool = False
    pid: int = 42
    undescribed: str = ""

    name = "Daemon"
    kernel_only = frozenset({LimitName.CPU_BURST})
    refusals = (EngineError,)
    peer = Peer(frozenset({0}))
    lock_directory: Path | None = None

    async def read(self, key: str) -> DaemonContainer[Mapping[str, Any]]:
        self.asked.append("read")
        document = dict(self.record)
        await asyncio.sleep(0)
        container = Container(ContainerRef("test", ID), "web", "", State.RUNNING, pid=self.pid, cgroup="/x")
        document = {} if self.undescribed else document
        return DaemonContainer(container, document, Capabilities(), None, False, self.undescribed)

    async def tell(self, target: DaemonContainer[Mapping[str, Any]], request: Mapping[str, Any], title: str) -> None:
        self.asked.append("tell")
        await asyncio.sleep(0)
        if self.fails is not None and not self.fails_after:
            raise self.fails
        self.record.update(request)
        await asyncio.sleep(0)
        limits.change(ContainerRef("test", ID), self.cgroup, LimitChange(**request), force=True)
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails

    async def reread(self, target: DaemonContainer[Mapping[str, Any]], sent: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append("reread")
        await asyncio.sleep(0)
        if self.away:
            raise UnavailableError("look at it")
        return dict(self.record)

    def persisted_limits(self, target: DaemonContainer[Mapping[str, Any]], document: Mapping[str, Any]) -> Limits:
        return replace(Limits(), **document)

    def request(self, context: ChangeContext[Mapping[str, Any]]) -> dict[str, Any]:
        return {name.value: value for name, value in context.change.items() if name in KEPT}

    def revert_request(
        self, context: ChangeContext[Mapping[str, Any]], document: Mapping[str, Any], now: Limits
    ) -> dict[str, Any]:
        return {name: value for name, value in context.target.document.items() if document[name] != value}

    def is_irrevocable(self, context: ChangeContext[Mapping[str, Any]], request: Mapping[str, Any]) -> bool:
        return self.irrevocable


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "host_facts", lambda: FACTS)
    monkeypatch.setattr(limits, "host_facts", lambda: FACTS)


@pytest.fixture(params=(Mode.V1, Mode.V2), ids=str)
def kernel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(tmp_path, request.param, monkeypatch)


@pytest.fixture
def daemon(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    made = Daemon(kernel.cgroup())
    monkeypatch.setattr(changing_limits, "cgroup_of", lambda *_: made.cgroup)
    return made


@pytest.fixture
def changer(daemon: Daemon, kernel: FakeKernel) -> LimitChanger[Mapping[str, Any]]:
    return LimitChanger(daemon, kernel.hierarchies)


Changer = LimitChanger[Mapping[str, Any]]


def is_free(cgroup: Cgroup) -> bool:
    """Whether the container's lock can be taken."""
    offset = lock_file.offset_of(cgroup)
    assert offset is not None
    held = lock_file.open_file()
    try:
        return lock_file.taken(held, offset)
    finally:
        os.close(held)


# what is read


async def test_a_live_change_reads_before_and_after_the_request(daemon: Daemon, changer: Changer) -> None:
    outcome = await changer.change("web", LimitChange(pids=44))
    assert outcome.ok
    assert daemon.asked == ["read", "tell", "reread"]
    assert (outcome.fields[0].engine, outcome.fields[0].kernel, outcome.fields[0].persistent) == (44, 44, True)


async def test_the_daemon_is_not_asked_about_kernel_only_limits(daemon: Daemon, changer: Changer) -> None:
    assert (await changer.change("web", LimitChange(cpu_shares=300))).ok
    assert daemon.asked == ["read"]


async def test_one_that_the_daemon_cannot_describe_is_limited_in_the_kernel_alone(
    daemon: Daemon, changer: Changer, kernel: FakeKernel
) -> None:
    """Its daemon would hang for it at an update too."""
    daemon.undescribed = "Daemon cannot describe it: it did not answer"
    outcome = await changer.change("web", LimitChange(pids=44, cpus=0.5))
    assert outcome.ok
    assert daemon.asked == ["read"]
    for entry in outcome.fields:
        assert entry.kernel == entry.requested
        assert entry.engine is Missing.NOT_SAMPLED
        assert not entry.persistent
    with pytest.raises(EngineError, match="did not answer"):
        await changer.change("web", LimitChange(net_egress=1_000_000))
    kernel.fail["pids.max"] = errno.EINVAL
    outcome = await changer.change("web", LimitChange(pids=45, cpus=0.7))
    assert outcome.error
    assert limits.read(daemon.cgroup).cpus == 0.5, "taken back from the kernel, without the daemon"
    assert set(daemon.asked) == {"read"}


async def test_one_that_nobody_describes_and_that_is_not_here_cannot_be_limited(
    daemon: Daemon, changer: Changer, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.undescribed = "Daemon cannot describe it: it did not answer"
    monkeypatch.setattr(changing_limits, "cgroup_of", lambda *_: None)
    with pytest.raises(EngineError, match="did not answer"):
        await changer.change("web", LimitChange(pids=44))
    assert set(daemon.asked) == {"read"}


async def test_another_clients_change_before_the_lock_is_read_again(
    daemon: Daemon, changer: Changer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made after the description was read: the kernel's files tell, and it is what is taken back to."""
    first = True

    def own_cgroup(*_: object) -> Cgroup:
        nonlocal first
        if first:
            first = False
            daemon.record["pids"] = 70
            limits.change(ContainerRef("test", ID), daemon.cgroup, LimitChange(pids=70))
        return daemon.cgroup

    monkeypatch.setattr(changing_limits, "cgroup_of", own_cgroup)
    outcome = await changer.change("web", LimitChange(pids=44))
    assert (outcome.ok, outcome.fields[0].before) == (True, 70)
    assert daemon.asked == ["read", "read", "tell", "reread"]


async def test_only_the_changed_limits_are_compared_with_the_kernel(daemon: Daemon, changer: Changer) -> None:
    daemon.record["memory"] = 64 * MB  # the kernel holds none
    assert (await changer.change("web", LimitChange(pids=44))).ok
    assert daemon.asked == ["read", "tell", "reread"]
    daemon.asked.clear()
    daemon.always_requested = frozenset({LimitName.MEMORY})
    assert (await changer.change("web", LimitChange(pids=45))).ok
    assert daemon.asked == ["read", "read", "tell", "reread"], "its value goes into every request"
    daemon.asked.clear()
    daemon.always_requested = frozenset()
    assert (await changer.change("web", LimitChange(memory=96 * MB))).ok
    assert daemon.asked == ["read", "read", "tell", "reread"]


async def test_a_container_that_restarts_before_it_is_locked_is_locked_where_it_is_now(
    daemon: Daemon, changer: Changer, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = daemon.cgroup, kernel.cgroup("restarted")
    tell = daemon.tell

    def own_cgroup(container: Container, *_: object) -> Cgroup | None:
        if daemon.pid == 42:  # right after the first look
            daemon.cgroup, daemon.pid = new, 43
            return old
        return new if container.pid == 43 else None

    async def told(*arguments: Any) -> None:
        assert (is_free(old), is_free(new)) == (True, False)
        await tell(*arguments)

    monkeypatch.setattr(changing_limits, "cgroup_of", own_cgroup)
    monkeypatch.setattr(daemon, "tell", told)
    assert (await changer.change("web", LimitChange(pids=44))).ok
    assert daemon.asked == ["read", "read", "tell", "reread"]
    assert limits.read(old).pids is UNLIMITED


async def test_a_container_that_keeps_restarting_is_a_conflict(
    daemon: Daemon, changer: Changer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing_limits, "is_confirmed", lambda *_: False)
    read = daemon.read

    async def another(key: str) -> DaemonContainer[Mapping[str, Any]]:
        daemon.pid += 1
        return await read(key)

    monkeypatch.setattr(daemon, "read", another)
    with pytest.raises(ConflictError, match="restarted"):
        await changer.change("web", LimitChange(pids=44))
    assert "tell" not in daemon.asked
    assert is_free(daemon.cgroup)


# what fails


async def test_a_refusal_is_tried_on_the_kernel(daemon: Daemon, changer: Changer) -> None:
    daemon.fails = EngineError("change", detail="exit status 1")
    (entry,) = (await changer.change("web", LimitChange(pids=44))).fields
    assert (entry.kernel, entry.engine, entry.verdict) == (44, UNLIMITED, Verdict.APPLIED)
    assert "exit status 1" in entry.detail


async def test_an_error_without_an_effect_is_raised(daemon: Daemon, changer: Changer) -> None:
    daemon.fails = UnavailableError("change", detail="gone")
    with pytest.raises(UnavailableError):
        await changer.change("web", LimitChange(pids=44))
    daemon.fails_after = True
    outcome = await changer.change("web", LimitChange(pids=44))
    assert (outcome.ok, limits.read(daemon.cgroup).pids) == (True, 44), "it was made before it failed"


async def test_a_daemon_that_stops_after_the_request_still_has_a_verdict(daemon: Daemon, changer: Changer) -> None:
    daemon.away = True
    (entry,) = (await changer.change("web", LimitChange(pids=44))).fields
    assert (entry.kernel, entry.engine, entry.persistent) == (44, Missing.NOT_SAMPLED, None)


async def test_a_change_that_the_kernel_refuses_is_reverted_in_the_daemon(
    daemon: Daemon, changer: Changer, kernel: FakeKernel
) -> None:
    kernel.fail["cpu.cfs_burst_us"] = kernel.fail["cpu.max.burst"] = errno.EINVAL
    before = dict(daemon.record)
    outcome = await changer.change("web", LimitChange(cpus=0.5, pids=44, cpu_burst=1000))
    assert not outcome.ok
    assert daemon.record == before
    assert limits.read(daemon.cgroup).pids is UNLIMITED
    assert daemon.asked == ["read", "tell", "reread", "tell", "reread"]


async def test_an_irrevocable_request_is_tried_on_the_kernel_first(
    daemon: Daemon, changer: Changer, kernel: FakeKernel
) -> None:
    daemon.irrevocable = True
    kernel.fail["cpu.cfs_burst_us"] = kernel.fail["cpu.max.burst"] = errno.EINVAL
    assert not (await changer.change("web", LimitChange(cpus=0.5, cpu_burst=1000))).ok
    assert daemon.asked == ["read"]
    kernel.fail.clear()
    daemon.fails = UnavailableError("change")
    with pytest.raises(UnavailableError):
        await changer.change("web", LimitChange(cpus=0.5, cpu_burst=1000))
    assert limits.read(daemon.cgroup).cpus is UNLIMITED, "the kernel has it back"


# a caller that is cancelled


class CancelledAt:
    """Awaits `work`, and has the task that does so cancelled while it waits for the `number`th time."""

    def __init__(self, work: Coroutine[Any, Any, Result], number: int) -> None:
        self._work = work
        self._number = number
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        waits = self._work.__await__()
        step, value = waits.send, None
        while True:
            try:
                waited = step(value)
            except StopIteration as end:
                return end.value
            self.waits += 1
            if self.waits == self._number:
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                value = yield waited
                step = waits.send
            except asyncio.CancelledError as error:  # the only one that a task throws
                step, value = waits.throw, error


@pytest.mark.parametrize("case", ["taken", "refused by the kernel", "tried first", "less memory"])
async def test_a_cancelled_change_is_whole_or_was_never_begun(
    daemon: Daemon, changer: Changer, kernel: FakeKernel, case: str
) -> None:
    change = LimitChange(cpus=0.5, pids=44)
    daemon.irrevocable = case == "tried first"
    if case == "refused by the kernel":
        kernel.fail["cpu.cfs_burst_us"] = kernel.fail["cpu.max.burst"] = errno.EINVAL
        change = replace(change, cpu_burst=1000)
    if case == "less memory":
        kernel.uses(daemon.cgroup, 100 * MB, cache=50 * MB)
        change = LimitChange(memory=64 * MB, pids=44)
    ref, seen = ContainerRef("test", ID), set()
    fresh = LimitChange(cpus=UNLIMITED, pids=UNLIMITED, memory=UNLIMITED)
    for number in range(1, 200):
        daemon.asked.clear()
        daemon.record.update(dict.fromkeys((name.value for name in KEPT), UNLIMITED))
        kernel_failures, kernel.fail = kernel.fail, {}
        limits.change(ref, daemon.cgroup, fresh, force=True)
        kernel.fail = kernel_failures
        high = limits.read(daemon.cgroup).memory_high
        attempt = CancelledAt(changer.change("web", change), number)

        async def run(attempt: CancelledAt = attempt) -> Any:
            return await attempt

        (result,) = await asyncio.gather(asyncio.create_task(run()), return_exceptions=True)
        assert is_free(daemon.cgroup), number
        assert not any(each.locked() for each in changer._locks.values()), number
        now = limits.read(daemon.cgroup)
        told = "tell" in daemon.asked
        done = told and case != "refused by the kernel"
        for name, value in ((name, value) for name, value in change.items() if name in KEPT):
            wanted = value if done else UNLIMITED
            assert (now.get(name), daemon.record[name.value]) == (wanted, wanted), (number, name)
        assert now.memory_high == high, number
        if attempt.waits < number:
            assert not isinstance(result, BaseException), result
            break
        assert isinstance(result, asyncio.CancelledError), (number, result)
        seen.add(told)
    else:
        pytest.fail("it never came to its end")
    assert seen == {False, True}, "it was cancelled before and after the daemon was told"


async def test_a_cancelled_caller_waits_for_a_stuck_change_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changing_limits, "END_TIMEOUT_S", 0.05)
    cancelled = asyncio.Event()

    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    caller = asyncio.create_task(changing_limits.run_to_end(stuck()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(caller), 5)
    assert cancelled.is_set()
