"""Limits on a real cgroup of our own: written in order, read back, refused, rolled back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from runtime import limits
from runtime.errors import ConflictError, NotFoundError, RefusedError, UnsupportedError
from runtime.kernel import cgroupfs, cgroups, files
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import apply
from runtime.limits.step import FileWrite, Step
from runtime.model import UNLIMITED, ContainerRef, LimitChange, LimitName, Missing, Unlimited, Verdict
from tests.conftest import missing, need_root
from tests.waiting import wait_until

MB = 1024 * 1024
REF = ContainerRef("test", "0" * 64)
EATER = "import sys,time; held=bytearray(b'x')*(48<<20); print('ready', flush=True); time.sleep(60)"


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    need_root("embedded")
    hierarchies = cgroupfs.detect()
    if hierarchies.mode is cgroupfs.Mode.NONE:
        missing("embedded", "no cgroups are mounted")
    name = f"pytop-test-{os.getpid()}"
    top = cgroups.create(hierarchies, name)
    try:
        yield cgroups.create(hierarchies, f"{name}/one")
    finally:
        cgroups.kill_all(top)
        cgroups.remove(top)


@pytest.fixture
def eater(cgroup: Cgroup) -> Iterator[subprocess.Popen[str]]:
    """A process of the cgroup that holds 48 MiB."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.stdin.readline(); {EATER}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    cgroups.attach(cgroup, process.pid)
    assert process.stdin
    assert process.stdout
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"
    yield process
    cgroups.kill_all(cgroup)  # also when a test has left it frozen
    process.communicate()


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (LimitChange(cpus=0.5), LimitChange(cpus=UNLIMITED)),
        (LimitChange(cpus=1.25, cpu_shares=512), LimitChange(cpus=UNLIMITED, cpu_shares=1024)),
        (LimitChange(cpuset_cpus="0"), LimitChange(cpuset_cpus=UNLIMITED)),
        (LimitChange(memory=64 * MB), LimitChange(memory=UNLIMITED)),
        (LimitChange(memory_reservation=32 * MB), LimitChange(memory_reservation=64 * MB)),
        (LimitChange(cpus=0.5, cpu_period=20_000), LimitChange(cpu_period=200_000)),
        (LimitChange(cpus=0.5, cpu_burst=20_000), LimitChange(cpu_burst=0)),
        (LimitChange(pids=100), LimitChange(pids=UNLIMITED)),
        (
            LimitChange(cpus=0.2, memory=64 * MB, pids=50, cpuset_cpus="0"),
            LimitChange(cpus=2.0, memory=128 * MB, pids=60),
        ),
    ],
)
def test_each_limit_is_set_and_lifted_again(cgroup: Cgroup, change: LimitChange, again: LimitChange) -> None:
    for wanted in (change, again):
        outcome = limits.change(REF, cgroup, wanted)
        assert outcome.ok, outcome
        held = limits.read(cgroup)
        for name, value in wanted.items():
            if isinstance(value, Unlimited) and name is LimitName.CPUSET_CPUS:
                assert held.cpuset_cpus == limits.host_facts().cpus
            elif name is LimitName.CPU_SHARES:
                assert limits.same(name, held.cpu_shares, value)
            else:
                assert held.get(name) == value


def test_the_file_itself_holds_the_quota(cgroup: Cgroup) -> None:
    limits.change(REF, cgroup, LimitChange(cpus=0.2))
    where = cgroup.where("cpu")
    assert where is not None
    if where[1] == 1:
        assert files.read(where[0] / "cpu.cfs_quota_us") == "20000"
    else:
        assert files.read(where[0] / "cpu.max") == "20000 100000"


def test_memory_is_raised_and_lowered_with_swap_beside_it(cgroup: Cgroup) -> None:
    if isinstance(limits.read(cgroup).swap, Missing):
        pytest.skip("this kernel does not account for swap")
    for memory, swap in ((64 * MB, 0), (256 * MB, 64 * MB), (32 * MB, 32 * MB)):
        assert limits.change(REF, cgroup, LimitChange(memory=memory, swap=swap)).ok
        held = limits.read(cgroup)
        assert (held.memory, held.swap) == (memory, swap)
    assert limits.change(REF, cgroup, LimitChange(memory=UNLIMITED, swap=UNLIMITED)).ok
    assert limits.read(cgroup).memory is UNLIMITED


def test_an_odd_number_of_bytes_is_rounded_and_reported(cgroup: Cgroup) -> None:
    outcome = limits.change(REF, cgroup, LimitChange(memory=64 * MB + 1))
    assert outcome.ok
    assert outcome.fields[0].verdict is Verdict.ROUNDED
    assert outcome.fields[0].kernel == 64 * MB


def test_memory_below_use_is_refused_with_the_figures(cgroup: Cgroup, eater: subprocess.Popen[str]) -> None:
    with pytest.raises(RefusedError, match=r"16\.0 MiB: it uses .* MiB of it cannot be reclaimed") as caught:
        limits.change(REF, cgroup, LimitChange(memory=16 * MB))
    assert "Nothing was changed" in str(caught.value)
    assert limits.read(cgroup).memory is UNLIMITED
    assert eater.poll() is None


def test_a_cpu_that_is_not_there_is_refused(cgroup: Cgroup) -> None:
    before = limits.read(cgroup)
    with pytest.raises(RefusedError, match="this machine has the CPUs"):
        limits.change(REF, cgroup, LimitChange(cpuset_cpus="0,999", pids=10))
    assert limits.read(cgroup) == before


def test_a_limit_that_the_kernel_does_not_offer_is_unsupported(cgroup: Cgroup) -> None:
    if limits.read(cgroup).memory_high is not Missing.UNSUPPORTED:
        pytest.skip("this kernel has memory.high")
    with pytest.raises(UnsupportedError):
        limits.change(REF, cgroup, LimitChange(memory_high=64 * MB))


def test_a_vanished_cgroup_is_not_found(cgroup: Cgroup) -> None:
    cgroups.remove(cgroup)
    with pytest.raises(NotFoundError):
        limits.change(REF, cgroup, LimitChange(cpus=1.0))


def test_what_was_written_is_taken_back_when_a_later_write_fails(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits.change(REF, cgroup, LimitChange(pids=77))
    real = apply.steps

    def with_a_bad_end(where: Cgroup, change: LimitChange, pid: int | None = None) -> list[Step]:
        writes = real(where, change, pid)
        *_, last = writes
        assert isinstance(last, FileWrite)
        return [*writes[:-1], FileWrite(last.name, last.path, "nonsense", last.before)]

    monkeypatch.setattr(apply, "steps", with_a_bad_end)
    outcome = limits.change(REF, cgroup, LimitChange(pids=10, cpus=0.5))
    assert not outcome.ok
    verdicts = {field.name: field.verdict for field in outcome.fields}
    assert verdicts == {LimitName.PIDS: Verdict.ROLLED_BACK, LimitName.CPUS: Verdict.FAILED}
    assert limits.read(cgroup).pids == 77
    assert limits.read(cgroup).cpus is UNLIMITED


def test_a_quota_below_the_burst_lowers_the_burst_first(cgroup: Cgroup) -> None:
    where = cgroup.where("cpu")
    assert where is not None
    directory, version = where
    burst = directory / ("cpu.max.burst" if version == 2 else "cpu.cfs_burst_us")
    if not burst.exists():
        pytest.skip("this kernel has no CPU burst")
    limits.change(REF, cgroup, LimitChange(cpus=1.0))
    files.write(burst, "80000")
    assert limits.change(REF, cgroup, LimitChange(cpus=0.3)).ok
    assert files.read(burst) == "30000"


def test_a_period_keeps_the_cores_and_a_burst_may_not_pass_the_quota(cgroup: Cgroup) -> None:
    where = cgroup.where("cpu")
    assert where is not None
    assert limits.change(REF, cgroup, LimitChange(cpus=0.5, cpu_burst=40_000)).ok
    assert limits.change(REF, cgroup, LimitChange(cpu_period=20_000)).ok
    held = limits.read(cgroup)
    assert (held.cpus, held.cpu_period, held.cpu_burst) == (0.5, 20_000, 10_000)
    if where[1] == 1:
        assert files.read(where[0] / "cpu.cfs_quota_us") == "10000"
        assert files.read(where[0] / "cpu.cfs_burst_us") == "10000"
    else:
        assert files.read(where[0] / "cpu.max") == "10000 20000"
        assert files.read(where[0] / "cpu.max.burst") == "10000"
    with pytest.raises(RefusedError, match="more than the 10ms"):
        limits.change(REF, cgroup, LimitChange(cpu_burst=10_001))
    outcome = limits.change(REF, cgroup, LimitChange(cpu_burst=10_001), force=True)
    assert "EINVAL" in outcome.error, "the kernel says the same"


def test_a_quota_really_throttles(cgroup: Cgroup) -> None:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        cgroups.attach(cgroup, process.pid)
        limits.change(REF, cgroup, LimitChange(cpus=0.2))
        start, used = time.monotonic(), _cpu_seconds(process.pid)
        time.sleep(1.5)
        share = (_cpu_seconds(process.pid) - used) / (time.monotonic() - start)
        assert share < 0.35
    finally:
        process.kill()
        process.wait()


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def parent(cgroup: Cgroup) -> Cgroup:
    return Cgroup(
        {name: path.parent for name, path in cgroup.v1.items()},
        cgroup.unified.parent if cgroup.unified else None,
        cgroup.controllers,
    )


def test_a_quota_above_the_parents_is_never_shown_as_held_on_v1(cgroup: Cgroup) -> None:
    where = cgroup.where("cpu")
    assert where is not None
    if where[1] == 2:
        pytest.skip("v2 takes any quota below a parent")
    assert limits.change(REF, parent(cgroup), LimitChange(cpus=0.5)).ok
    outcome = limits.change(REF, cgroup, LimitChange(pids=20, cpus=1.0))
    assert {field.name: field.verdict for field in outcome.fields} == {
        LimitName.PIDS: Verdict.ROLLED_BACK,
        LimitName.CPUS: Verdict.FAILED,
    }
    assert "a cgroup above it allows less" in outcome.error
    assert limits.read(cgroup).pids is UNLIMITED
    assert limits.change(REF, cgroup, LimitChange(cpus=0.4)).ok
    outcome = limits.change(REF, parent(cgroup), LimitChange(cpus=0.3))
    assert "one below it was given more" in outcome.error


def test_a_cpu_that_the_parent_does_not_have_is_refused(cgroup: Cgroup) -> None:
    if limits.host_facts().ncpu < 2:
        pytest.skip("this machine has one CPU")
    # the parent can only shrink when its child has left the CPU
    assert limits.change(REF, cgroup, LimitChange(cpuset_cpus="0")).ok
    assert limits.change(REF, parent(cgroup), LimitChange(cpuset_cpus="0")).ok
    with pytest.raises(RefusedError, match="the cgroup above it has 0 only"):
        limits.change(REF, cgroup, LimitChange(cpuset_cpus="1"))
    assert limits.change(REF, cgroup, LimitChange(cpuset_cpus=UNLIMITED)).ok
    assert limits.read(cgroup).cpuset_cpus == "0"


def test_v1_answers_a_forced_limit_below_use_by_itself(cgroup: Cgroup, eater: subprocess.Popen[str]) -> None:
    where = cgroup.where("memory")
    assert where is not None
    if where[1] == 2:
        pytest.skip("v2 would kill it")
    before = limits.raw_files(cgroup)
    outcome = limits.change(REF, cgroup, LimitChange(pids=20, memory=16 * MB, cpus=0.5), force=True)
    assert {field.name: field.verdict for field in outcome.fields} == {
        LimitName.PIDS: Verdict.ROLLED_BACK,
        LimitName.CPUS: Verdict.ROLLED_BACK,
        LimitName.MEMORY: Verdict.FAILED,
    }
    assert "could not be reclaimed" in outcome.error
    assert limits.raw_files(cgroup) == before
    assert eater.poll() is None


def test_an_idle_cgroup_takes_no_weight_and_gets_back_its_own(cgroup: Cgroup) -> None:
    where = cgroup.where("cpu")
    assert where is not None
    if not (where[0] / "cpu.idle").exists():
        missing("cpu.idle", "this kernel has no idle class")
    weight = where[0] / ("cpu.weight" if where[1] == 2 else "cpu.shares")
    assert limits.change(REF, cgroup, LimitChange(cpu_shares=512)).ok
    before = files.read(weight)
    assert limits.change(REF, cgroup, LimitChange(cpu_idle=True)).ok
    assert files.read(where[0] / "cpu.idle") == "1"
    assert files.read(weight) != before, "the kernel shows no weight in the class"
    with pytest.raises(ConflictError, match="idle class"):
        limits.change(REF, cgroup, LimitChange(cpu_shares=256))
    assert limits.change(REF, cgroup, LimitChange(cpu_idle=False)).ok
    assert (files.read(where[0] / "cpu.idle"), files.read(weight)) == ("0", before)


def test_the_idle_class_yields_to_other_cgroups(cgroup: Cgroup) -> None:
    """Two loops on one CPU, one of them idle: the other gets nearly all of it."""
    if isinstance(limits.read(cgroup).cpu_idle, Missing):
        missing("cpu.idle", "this kernel has no idle class")
    other = cgroups.create(cgroupfs.detect(), f"pytop-test-{os.getpid()}/two")
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        for where, process in ((cgroup, loops[0]), (other, loops[1])):
            assert limits.change(REF, where, LimitChange(cpuset_cpus="0")).ok
            cgroups.attach(where, process.pid)
        assert limits.change(REF, cgroup, LimitChange(cpu_idle=True)).ok
        used = [_cpu_seconds(process.pid) for process in loops]
        time.sleep(1.5)
        idle, busy = (_cpu_seconds(process.pid) - before for process, before in zip(loops, used, strict=True))
        assert busy > 0.1, "the machine left it some time"
        assert idle < 0.7 * busy, "without the class each would get half; a slow emulator counts coarsely"
    finally:
        for process in loops:
            process.kill()
            process.wait()
        cgroups.remove(other)


def test_a_cgroup_with_processes_is_not_removed(cgroup: Cgroup, eater: subprocess.Popen[str]) -> None:
    with pytest.raises(ConflictError, match="1 processes are left"):
        cgroups.remove(cgroup)
    assert eater.poll() is None


def test_a_process_that_keeps_forking_is_killed_completely(cgroup: Cgroup) -> None:
    limits.change(REF, cgroup, LimitChange(pids=40))
    loop = "read go; while :; do sleep 60 & done 2>/dev/null"
    with subprocess.Popen(["sh", "-c", loop], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        cgroups.attach(cgroup, process.pid)
        assert process.stdin
        process.stdin.write(b"go\n")
        process.stdin.close()
        wait_until(lambda: len(cgroups.pids(cgroup)) >= 10, 10, "it forks")
        cgroups.kill_all(cgroup)
        assert cgroups.is_empty(cgroup)


def test_processes_frozen_by_v1_are_killed(cgroup: Cgroup, eater: subprocess.Popen[str]) -> None:
    freezer = cgroup.v1.get("freezer")
    if freezer is None:
        pytest.skip("this host has no v1 freezer")
    files.write(freezer / "freezer.state", "FROZEN")
    wait_until(lambda: cgroups.is_frozen(cgroup), 5, "it is frozen")
    cgroups.kill_all(cgroup)
    assert eater.wait(timeout=5) == -9
    assert cgroups.is_empty(cgroup)


def test_every_process_is_killed_also_when_it_is_frozen(cgroup: Cgroup, eater: subprocess.Popen[str]) -> None:
    cgroups.freeze(cgroup)
    assert cgroups.is_frozen(cgroup)
    files_before = limits.raw_files(cgroup)
    assert any(entry.path.endswith("pids.max") for entry in files_before)
    cgroups.signal_all(cgroup, 9)
    cgroups.thaw(cgroup)
    assert eater.wait(timeout=5) == -9
    cgroups.kill_all(cgroup)
    assert cgroups.is_empty(cgroup)
