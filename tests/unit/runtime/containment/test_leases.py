"""Leases on a kernel of files: set, read back, taken back limit by limit, whatever happens in between."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime import limits
from runtime.containment import ending, holder, keeper, keeper_lock, leases, store
from runtime.containment.lease import Lease, LeaseState
from runtime.errors import ConflictError, KernelError, NotFoundError, PytopError
from runtime.kernel import cgroups, files, procfs
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import UNLIMITED, ContainerRef, LimitChange, LimitOutcome, Limits
from tests.unit.fake_kernel import FakeKernel
from tui.cli import verbs

REF = ContainerRef("test", "0123456789abcdef")
MB = 1 << 20


async def take(cgroup: Cgroup, change: LimitChange, *, seconds: float = 60, **options: object) -> Lease:
    lease, outcome = await leases.take(REF, "hog", cgroup, change, pid=None, seconds=seconds, reason="test", **options)  # type: ignore[arg-type]
    assert outcome.ok, outcome
    return lease


def held(cgroup: Cgroup) -> Limits:
    return limits.read(cgroup)


def age(lease: Lease, seconds: float) -> None:
    """As if it had been taken so long ago."""
    now = store.read(lease.id)
    assert now is not None
    store.write(replace(now, expires_ns=now.expires_ns - int(seconds * 1e9)))


async def test_a_lease_is_set_read_back_and_taken_back(cgroup: Cgroup) -> None:
    before = held(cgroup)
    lease = await take(cgroup, LimitChange(cpus=0.4, memory=100 * MB + 1, pids=50))
    assert held(cgroup).cpus == 0.4
    assert lease.change.pids == 50
    assert lease.before.cpus is UNLIMITED
    assert lease.boot == procfs.boot_id()
    assert store.read_all() == (lease,)
    ended = await leases.revert(lease.id)
    assert ended.state is LeaseState.REVERTED
    assert held(cgroup) == before
    assert not store.read_all()[0].active
    with pytest.raises(ConflictError, match="ended"):
        await leases.revert(lease.id)


async def test_a_limit_that_the_kernel_changes_along_is_taken_back_too(cgroup: Cgroup) -> None:
    """A quota below a millisecond needs a longer period."""
    limits.change(REF, cgroup, LimitChange(cpu_period=50_000))
    before = held(cgroup)
    lease = await take(cgroup, LimitChange(cpus=0.015))
    assert held(cgroup).cpu_period == 66_667
    assert lease.before.cpu_period == 50_000
    await leases.revert(lease.id)
    assert held(cgroup) == before


async def test_what_somebody_else_has_changed_is_left_alone_and_reported(cgroup: Cgroup, kernel: FakeKernel) -> None:
    lease = await take(cgroup, LimitChange(cpus=0.4, pids=50))
    limits.change(REF, cgroup, LimitChange(pids=70))
    ended = await leases.revert(lease.id)
    assert ended.state is LeaseState.CONFLICT
    assert "pids is 70 by somebody else, not 50" in ended.result
    assert held(cgroup).pids == 70
    assert held(cgroup).cpus is UNLIMITED


async def test_what_was_rounded_by_the_kernel_is_no_conflict(cgroup: Cgroup) -> None:
    lease = await take(cgroup, LimitChange(memory=100 * MB + 1))
    assert (await leases.revert(lease.id)).state is LeaseState.REVERTED
    assert held(cgroup).memory is UNLIMITED


async def test_a_change_that_fails_leaves_no_lease(cgroup: Cgroup, kernel: FakeKernel) -> None:
    before = held(cgroup)
    kernel.fail["pids.max"] = errno.EIO
    lease, outcome = await leases.take(REF, "hog", cgroup, LimitChange(cpus=0.4, pids=50), pid=None, seconds=60)
    if lease.state is LeaseState.FAILED:
        assert not outcome.ok
    assert store.read_all() == ()
    assert held(cgroup) == before


async def test_a_change_that_is_refused_leaves_no_lease(cgroup: Cgroup) -> None:
    with pytest.raises(PytopError):
        await leases.take(REF, "hog", cgroup, LimitChange(cpuset_cpus="77"), pid=None, seconds=60)
    assert store.read_all() == ()


async def test_another_programs_lease_of_the_same_limit_is_a_conflict_that_names_it(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await take(cgroup, LimitChange(cpus=0.4))
    theirs = replace(lease.holder, pid=os.getppid(), started=procfs.start_time(os.getppid()), sudo_user="ann")
    store.write(replace(lease, holder=theirs))
    with pytest.raises(ConflictError, match=f"process {os.getppid()} of user .*ann.* holds a lease of cpus"):
        await leases.take(REF, "hog", cgroup, LimitChange(cpus=0.2), pid=None, seconds=60)
    assert held(cgroup).cpus == 0.4
    await take(cgroup, LimitChange(pids=50))


async def test_leases_of_one_limit_lie_on_one_another_and_end_in_any_order(cgroup: Cgroup) -> None:
    before = held(cgroup)
    first = await take(cgroup, LimitChange(cpus=0.4))
    second = await take(cgroup, LimitChange(cpus=0.2))
    third = await take(cgroup, LimitChange(cpus=0.1))
    assert (await leases.revert(first.id)).state is LeaseState.REVERTED
    assert held(cgroup).cpus == 0.1
    assert (await leases.revert(third.id)).state is LeaseState.REVERTED
    assert held(cgroup).cpus == 0.2
    assert (await leases.revert(second.id)).state is LeaseState.REVERTED
    assert held(cgroup) == before


@pytest.mark.parametrize("first_to_end", [0, 1])
async def test_a_weight_below_the_idle_class_is_taken_back_in_any_order(cgroup: Cgroup, first_to_end: int) -> None:
    """In the idle class the kernel takes no weight, so the lease of that gives it back when it ends."""
    before = held(cgroup)
    taken = [await take(cgroup, LimitChange(cpu_shares=77)), await take(cgroup, LimitChange(cpu_idle=True))]
    for lease in (taken[first_to_end], taken[1 - first_to_end]):
        ended = await leases.revert(lease.id)
        assert ended.state is LeaseState.REVERTED, ended.result
    assert held(cgroup) == before


async def test_a_confirmed_lease_stays_and_one_below_it_ends_without_a_conflict(cgroup: Cgroup) -> None:
    first = await take(cgroup, LimitChange(cpus=0.4))
    second = await take(cgroup, LimitChange(cpus=0.2))
    assert (await leases.confirmed(second.id)).state is LeaseState.CONFIRMED
    assert (await leases.revert(first.id)).state is LeaseState.REVERTED
    assert held(cgroup).cpus == 0.2
    with pytest.raises(ConflictError, match="confirmed"):
        await leases.renew(second.id, 60)


async def test_a_renewed_lease_ends_later(cgroup: Cgroup) -> None:
    lease = await take(cgroup, LimitChange(cpus=0.4), seconds=5)
    renewed = await leases.renew(lease.id, 300)
    assert renewed.expires_ns - store.now_ns() == pytest.approx(300e9, abs=5e9)
    age(lease, 200)
    assert ending.settle_abandoned() == []
    assert held(cgroup).cpus == 0.4
    with pytest.raises(NotFoundError):
        await leases.renew("none", 5)


async def test_a_frozen_container_is_thawed_and_one_that_was_frozen_before_is_refused(
    cgroup: Cgroup, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = [False]
    monkeypatch.setattr(cgroups, "freeze", lambda _: frozen.__setitem__(0, True))
    monkeypatch.setattr(cgroups, "thaw", lambda _: frozen.__setitem__(0, False))
    monkeypatch.setattr(cgroups, "is_frozen", lambda _: frozen[0])
    lease = await take(cgroup, LimitChange(), freeze=True)
    assert frozen == [True]
    second = await take(cgroup, LimitChange(), freeze=True)
    await leases.revert(lease.id)
    assert frozen == [True], "the other lease still holds it"
    await leases.revert(second.id)
    assert frozen == [False]
    frozen[0] = True
    with pytest.raises(ConflictError, match="frozen already"):
        await take(cgroup, LimitChange(), freeze=True)


async def test_a_lease_of_another_boot_changes_nothing(cgroup: Cgroup) -> None:
    lease = await take(cgroup, LimitChange(cpus=0.4))
    store.write(replace(lease, boot="another"))
    assert ending.settle_abandoned() == []
    assert store.read_all()[0].state is LeaseState.GONE
    assert held(cgroup).cpus == 0.4


async def test_a_cgroup_that_was_made_anew_is_not_touched(cgroup: Cgroup, kernel: FakeKernel) -> None:
    lease = await take(cgroup, LimitChange(cpus=0.4))
    directory = next(iter(cgroup.directories))
    directory.rename(directory.with_name("old"))
    directory.mkdir()
    ended = await leases.revert(lease.id)
    assert ended.state is LeaseState.GONE
    assert ended.result == "its cgroup is gone"


async def test_a_lease_that_cannot_be_noted_changes_nothing(
    cgroup: Cgroup, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = held(cgroup)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    kernel.writes.clear()
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(KernelError, match="note the lease"):
        await leases.take(REF, "hog", cgroup, LimitChange(cpus=0.4), pid=None, seconds=60)
    assert kernel.writes == []
    assert held(cgroup) == before


async def test_a_disk_that_fills_up_later_loses_no_lease(
    cgroup: Cgroup, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note of what was read back cannot be written: what was asked for is noted, and is enough."""
    limits.change(REF, cgroup, LimitChange(cpu_period=50_000))
    before, real, count = held(cgroup), store.write, 0

    def full(lease: Lease) -> None:
        nonlocal count
        count += 1
        if count > 1:
            raise KernelError("note the lease", errno=errno.ENOSPC)
        real(lease)

    monkeypatch.setattr(store, "write", full)
    lease = await take(cgroup, LimitChange(cpus=0.015, memory=100 * MB + 1))
    assert (await leases.revert(lease.id)).state is LeaseState.REVERTED
    assert held(cgroup) == before
    assert store.read_all() == ()


@pytest.mark.parametrize("call", ["write", "rename", "unlink"])
@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, None])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_each_fault_of_the_store_leaves_the_kernel_right(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch, call: str, fault: int | None, number: int
) -> None:
    """Each call in turn fails, or (None) writes half: the limits are leased, or as they were; and are so in the end."""
    if fault is None and call != "write":
        return
    before, real, count = held(cgroup), getattr(os, call), 0

    def fail(*args: object, **options: object) -> object:
        nonlocal count
        count += 1
        if count != number:
            return real(*args, **options)
        if fault is None:
            descriptor, data = args
            assert isinstance(data, bytes)
            return real(descriptor, data[: len(data) // 2])
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(store, "os", SimpleNamespace(**{**vars(os), call: fail}))
    try:
        lease = await take(cgroup, LimitChange(cpus=0.4, pids=50))
    except KernelError:
        assert held(cgroup) == before
        assert store.read_all() == ()
        return
    assert held(cgroup).pids == 50
    assert store.read(lease.id) is not None
    with suppress(KernelError):
        await leases.renew(lease.id, 30)
    for _ in range(2):  # the second time is that of the keeper, which tries again
        with suppress(PytopError):
            await leases.revert(lease.id)
    assert held(cgroup) == before
    assert not any(each.active for each in store.read_all())


@pytest.mark.parametrize("number", range(1, 12))
@pytest.mark.parametrize("after", [False, True])
async def test_a_program_that_is_killed_at_any_write_leaves_what_the_next_puts_right(
    cgroup: Cgroup, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, number: int, after: bool
) -> None:
    """Each write to the kernel in turn is the last one of the program; half of a change is as good as a whole one."""
    limits.change(REF, cgroup, LimitChange(cpu_period=50_000))
    before, write, count = held(cgroup), files.write, 0

    class Killed(BaseException):
        pass

    def killed(path: Path, text: str) -> None:
        nonlocal count
        count += 1
        if count == number and not after:
            raise Killed
        write(path, text)
        if count == number:
            raise Killed

    monkeypatch.setattr(files, "write", killed)
    change = LimitChange(cpus=0.015, cpu_idle=True, memory=100 * MB, memory_reservation=MB, pids=50)
    try:
        lease = await take(cgroup, change)
    except Killed:
        (lease,) = store.read_all()
    monkeypatch.setattr(files, "write", write)
    store.write(replace(lease, holder=replace(lease.holder, started=1)))
    (words,) = ending.settle_abandoned()
    assert "ended the lease of hog" in words
    assert words.endswith("reverted")
    assert held(cgroup) == before


async def test_a_watched_lease_is_left_to_who_watches_it(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = await take(cgroup, LimitChange(cpus=0.4))
    assert ending.settle_abandoned() == [], "its holder lives"
    dead = replace(lease, holder=replace(lease.holder, started=1))
    store.write(dead)
    monkeypatch.setattr(ending.keeper_lock, "is_held", lambda: True)
    assert ending.settle_abandoned() == [], "a keeper lives"
    age(lease, 65)
    assert ending.settle_abandoned() != [], "and is late"
    assert held(cgroup).cpus is UNLIMITED


async def test_damaged_notes_are_left_out(cgroup: Cgroup, run: Path) -> None:
    lease = await take(cgroup, LimitChange(cpus=0.4))
    document = json.loads((run / f"{store.PREFIX}{lease.id}").read_text())
    damages: list[Callable[[dict[str, object]], object]] = [
        lambda found: found.pop("ref"),
        lambda found: found.update(format=99),
        lambda found: found.update(change={"cpus": {}}),
        lambda found: found.update(change={"no limit": 1}),
        lambda found: found.update(state="?"),
        lambda found: found.update(holder=[]),
    ]
    for number, damage in enumerate(damages):
        copy = dict(document)
        damage(copy)
        (run / f"{store.PREFIX}{number}").write_text(json.dumps(copy))
    (run / f"{store.PREFIX}half").write_text('{"format": 1, "id')
    (run / f"{store.PREFIX}list").write_text("[]")
    assert store.read_all() == (lease,)


async def test_a_container_that_restarts_gets_its_lease_again(cgroup: Cgroup, kernel: FakeKernel) -> None:
    lease = await take(cgroup, LimitChange(cpus=0.4))
    second = await take(cgroup, LimitChange(cpus=0.2))
    anew = kernel.cgroup("anew")
    found = await leases.reapply(REF, anew, None)
    assert [each.id for each in found] == [lease.id, second.id]
    assert held(anew).cpus == 0.2
    assert held(cgroup).cpus is UNLIMITED
    await leases.revert(second.id)
    await leases.revert(lease.id)
    assert held(anew).cpus is UNLIMITED
    assert await leases.reapply(REF, cgroup, None) == ()


async def test_a_lease_by_the_engines_api_is_held_by_the_program(cgroup: Cgroup, kernel: FakeKernel) -> None:
    said: list[LimitChange] = []

    async def by_engine(change: LimitChange) -> LimitOutcome:
        said.append(change)
        return limits.change(REF, cgroup, change)

    before = held(cgroup)
    setter = leases.ApiSetter(by_engine, by_engine)
    lease, outcome = await leases.take(REF, "hog", None, LimitChange(cpus=0.4), pid=None, seconds=60, by_api=setter)
    assert outcome.ok
    assert lease.by_api
    assert ending.settle_abandoned() == []
    ended = await leases.revert(lease.id)
    assert ended.state is LeaseState.REVERTED
    assert said == [LimitChange(cpus=0.4), LimitChange(cpus=UNLIMITED)]
    assert held(cgroup) == before


def test_who_holds_it_is_known_by_the_kernel_and_what_the_environment_claims(tmp_path: Path) -> None:
    found = holder.current({"SUDO_USER": "ann\x1b[2J", "SSH_CLIENT": "192.0.2.1 1 22"})
    assert (found.pid, found.uid, found.sudo_user, found.ssh) == (os.getpid(), os.getuid(), "ann[2J", "192.0.2.1 1 22")
    assert holder.is_own(found)
    assert holder.is_alive(found)
    assert not holder.is_alive(replace(found, started=1))
    assert holder.is_alive(replace(found, started=1, namespace="pid:[1]")), "it cannot be seen from here"


def test_a_command_looks_for_leases_by_the_name_that_the_store_gives_them() -> None:
    assert verbs.LEASE_FILES == store.PREFIX


async def test_the_time_of_a_lease_begins_when_it_is_set(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keeper was waited for in between, and the lease was over before it had begun."""

    async def slow() -> str:
        await asyncio.sleep(leases.MAX_WAIT_NS / 1e9 + 0.1)
        return ""

    monkeypatch.setattr(leases.keeper, "ensure", slow)
    lease = await take(cgroup, LimitChange(pids=50), seconds=0.25)
    assert lease.expires_ns > store.now_ns()
    (noted,) = store.read_all()
    assert noted == lease
    assert 0.2e9 < lease.expires_ns - lease.created_ns <= 0.25e9


def test_a_keeper_that_is_killed_as_it_starts_is_started_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spawned: list[int] = []

    def spawn() -> None:
        spawned.append(1)
        if len(spawned) == 2:
            held.append(keeper_lock.try_take())

    held: list[int | None] = []
    monkeypatch.setattr(keeper, "_spawn", spawn)
    monkeypatch.setattr(keeper, "RETRY_S", 0.05)
    monkeypatch.setattr(keeper.keeper_service, "start", lambda _: False)
    try:
        assert keeper.start() == ""
        assert len(spawned) == 2
    finally:
        for descriptor in held:
            assert descriptor is not None
            os.close(descriptor)
