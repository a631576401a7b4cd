"""What becomes of a change that a daemon has made: what it left out is written, what it undid is put back."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime import limits
from runtime.engines.daemon import settle as settling
from runtime.errors import DeniedError, KernelError
from runtime.kernel import files
from runtime.kernel.cgroupfs import Cgroup, Mode
from runtime.limits import apply
from runtime.limits.review.facts import HostFacts
from runtime.model import (
    UNLIMITED,
    ContainerRef,
    DeviceRate,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Verdict,
)
from tests.unit.fake_kernel import FakeKernel

MB = 1024 * 1024
REF = ContainerRef("test", "0" * 64)
NONE = Limits()  # the record of an engine that keeps none


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = HostFacts(ncpu=4, cpus="0-3", mems="0", memory_total=8 << 30, swap_total=0, pid_max=32768)
    monkeypatch.setattr(apply, "host_facts", lambda: facts)


@pytest.fixture(params=(Mode.V1, Mode.V2), ids=str)
def kernel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(tmp_path, request.param, monkeypatch)


def settled(
    cgroup: Cgroup, asked: LimitChange, done: LimitChange, recorded: Limits = NONE, refused: str = ""
) -> LimitOutcome:
    """The outcome where `asked` was asked of a daemon and it has `done` something."""
    before = limits.read(cgroup)
    if done:
        assert limits.change(REF, cgroup, done).ok
    return settling.settle(REF, cgroup, asked, before, recorded, earlier=NONE, name="Daemon", refused=refused)


def test_limits_that_the_daemon_applied_are_not_written_again(kernel: FakeKernel) -> None:
    cgroup, change = kernel.cgroup(), LimitChange(cpus=0.5, memory=64 * MB)
    before = limits.read(cgroup)
    assert limits.change(REF, cgroup, change).ok
    kernel.writes.clear()
    recorded = Limits(cpus=0.5, memory=UNLIMITED)
    outcome = settling.settle(REF, cgroup, change, before, recorded, earlier=NONE, name="Daemon")
    assert outcome.ok
    assert [entry.persistent for entry in outcome.fields] == [True, False]
    assert kernel.writes == []


@pytest.mark.parametrize(
    ("recorded", "refused", "words"),
    [
        (Limits(), "", "written to the kernel: Daemon does not keep it"),
        (Limits(pids=44), "", "Daemon recorded it and did not write it, so it was written to the kernel"),
        (Limits(pids=UNLIMITED), "no!", "written to the kernel: Daemon refused it (no!)"),
        (Limits(), "no!", "written to the kernel: Daemon does not keep it"),
    ],
)
def test_limits_that_the_daemon_ignored_are_written_and_reported(
    kernel: FakeKernel, recorded: Limits, refused: str, words: str
) -> None:
    outcome = settled(kernel.cgroup(), LimitChange(pids=44), LimitChange(), recorded, refused)
    (entry,) = outcome.fields
    assert (entry.kernel, entry.verdict, entry.detail) == (44, Verdict.APPLIED, words)
    assert outcome.ok


def test_notes_about_our_own_write_are_in_the_outcome(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    real = apply.change

    def change(*arguments: Any, **more: Any) -> LimitOutcome:
        done = real(*arguments, **more)
        return replace(done, fields=tuple(replace(field, detail="past systemd") for field in done.fields))

    monkeypatch.setattr(apply, "change", change)
    before = limits.read(cgroup := kernel.cgroup())
    asked = LimitChange(pids=44)
    (entry,) = settling.settle(REF, cgroup, asked, before, NONE, earlier=NONE, name="Daemon").fields
    assert entry.detail == "written to the kernel: Daemon does not keep it; past systemd"


def test_limits_that_the_daemon_reset_are_restored(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    limits.change(REF, cgroup, LimitChange(cpus=0.2, cpu_burst=5000, memory=64 * MB, cpuset_cpus="1"))
    outcome = settled(
        cgroup, LimitChange(pids=44), LimitChange(pids=44, cpus=1.5, cpu_burst=0, memory=128 * MB, cpuset_cpus="0-2")
    )
    assert outcome.ok
    assert [entry.name.value for entry in outcome.fields] == ["pids"]
    now = limits.read(cgroup)
    assert (now.cpus, now.cpu_burst, now.memory, now.cpuset_cpus, now.pids) == (0.2, 5000, 64 * MB, "1", 44)


@pytest.mark.parametrize(
    ("earlier", "recorded", "after"),
    [
        (Limits(pids=70, cpuset_cpus=UNLIMITED), Limits(pids=70, cpuset_cpus=UNLIMITED), (40, "1")),  # the whole record
        (Limits(pids=40, cpuset_cpus="1"), Limits(pids=70, cpuset_cpus="0-2"), (70, "0-2")),  # by way of the daemon
        (Limits(pids=40, cpuset_cpus="1"), Limits(pids=40, cpuset_cpus="1"), (70, "0-2")),  # past the daemon
    ],
)
def test_changes_by_another_client_are_kept(
    kernel: FakeKernel, earlier: Limits, recorded: Limits, after: tuple[int, str]
) -> None:
    cgroup, change = kernel.cgroup(), LimitChange(memory=64 * MB)
    limits.change(REF, cgroup, LimitChange(pids=40, cpuset_cpus="1"))
    before = limits.read(cgroup)
    kernel.uses(cgroup, MB)
    limits.change(REF, cgroup, LimitChange(memory=64 * MB, pids=70, cpuset_cpus="0-2"))
    outcome = settling.settle(REF, cgroup, change, before, replace(recorded, memory=64 * MB), earlier=earlier, name="D")
    assert outcome.ok
    now = limits.read(cgroup)
    assert (now.pids, now.cpuset_cpus) == after


@pytest.mark.parametrize("high", ["max", str(80 * MB)])
async def test_memory_is_reclaimed_before_a_daemon_lowers_a_v2_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, high: str
) -> None:
    kernel = FakeKernel(tmp_path, Mode.V2, monkeypatch)
    cgroup = kernel.cgroup()
    assert cgroup.unified is not None
    kernel.put(cgroup.unified / "memory.high", high)
    kernel.uses(cgroup, 100 * MB, cache=50 * MB)
    async with settling.headroom(cgroup, LimitChange(memory=64 * MB, pids=9)):
        files.write(cgroup.unified / "memory.max", str(64 * MB))
    assert not kernel.oom_killed
    assert kernel.get(cgroup.unified / "memory.high") == high
    with pytest.raises(KernelError, match="could not be reclaimed"):
        async with settling.headroom(cgroup, LimitChange(memory=10 * MB)):
            pytest.fail("there is no room")
    assert kernel.get(cgroup.unified / "memory.high") == high


async def test_no_headroom_is_needed(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    kernel.uses(cgroup, 10 * MB, cache=5 * MB)
    for change in (LimitChange(memory=64 * MB), LimitChange(memory=UNLIMITED), LimitChange(pids=3)):
        async with settling.headroom(cgroup, change):
            pass
    async with settling.headroom(None, LimitChange(memory=1)):
        pass
    assert kernel.writes == []


def test_dependent_limits_are_not_restored(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    limits.change(REF, cgroup, LimitChange(cpus=0.5))
    assert settled(cgroup, LimitChange(cpus=1.0), LimitChange(cpus=1.0, cpu_period=50_000, cpu_burst=1000)).ok
    assert settled(cgroup, LimitChange(memory=64 * MB), LimitChange(memory=64 * MB, swap=0)).ok
    now = limits.read(cgroup)
    assert (now.cpus, now.cpu_period, now.cpu_burst, now.swap) == (1.0, 50_000, 1000, 0)


def test_the_kernels_refusal_is_reported(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    kernel.fail["pids.max"] = errno.EINVAL
    outcome = settled(cgroup, LimitChange(pids=44), LimitChange())
    assert not outcome.ok
    assert (outcome.fields[0].verdict, outcome.fields[0].persistent) == (Verdict.FAILED, None)
    assert "pids.max" in outcome.error


def test_a_change_that_daemon_and_kernel_refuse_has_both_messages(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> LimitOutcome:
        raise DeniedError("write", detail="Permission denied", path="/sys/fs/cgroup/x/pids.max")

    cgroup = kernel.cgroup()
    monkeypatch.setattr(apply, "change", denied)
    outcome = settled(cgroup, LimitChange(pids=44), LimitChange(), refused="the runtime failed")
    assert outcome.error.startswith("the runtime failed; write [/sys/fs/cgroup/x/pids.max]: Permission denied")
    assert not outcome.ok


def test_a_change_that_failed_in_part_is_taken_back(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    limits.change(REF, cgroup, LimitChange(cpus=0.5, memory=128 * MB, pids=100))
    before, files = limits.read(cgroup), limits.raw_files(cgroup)
    kernel.fail["pids.max"] = errno.EINVAL
    asked = LimitChange(cpus=0.2, memory=64 * MB, pids=44)
    failed = settled(cgroup, asked, LimitChange(cpus=0.2, memory=64 * MB), Limits(cpus=0.2))
    assert limits.read(cgroup) != before
    outcome = settling.take_back(failed, cgroup, before, Limits(cpus=0.5))
    assert limits.raw_files(cgroup) == files
    assert {entry.name.value: entry.verdict for entry in outcome.fields} == {
        "cpus": Verdict.ROLLED_BACK,
        "memory": Verdict.ROLLED_BACK,
        "pids": Verdict.FAILED,
    }
    assert [entry.engine for entry in outcome.fields if entry.name.value == "cpus"] == [0.5]
    assert "pids.max" in outcome.error
    assert "not taken back" not in outcome.error


def test_a_failed_revert_is_reported(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    before = limits.read(cgroup)
    failed = settled(cgroup, LimitChange(pids=44), LimitChange(pids=44))
    kernel.fail["pids.max"] = errno.EINVAL
    outcome = settling.take_back(failed, cgroup, before, Limits(), stuck=["the daemon is away"])
    (entry,) = outcome.fields
    assert (entry.verdict, entry.kernel) == (Verdict.FAILED, 44)
    assert "the daemon is away" in entry.detail
    assert "pids.max" in outcome.error


def test_revert_lifts_the_rate_of_a_disk_that_had_none() -> None:
    then, now = ((DeviceRate("8:0", 5),), (DeviceRate("8:0", 7), DeviceRate("8:16", 9)))
    found = settling.revert([LimitName.IO_READ_BPS, LimitName.PIDS], Limits(io_read_bps=then), Limits(io_read_bps=now))
    assert found == LimitChange(io_read_bps=(DeviceRate("8:0", 5), DeviceRate("8:16", UNLIMITED)))
