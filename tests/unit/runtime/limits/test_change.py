"""Limits written to kernels of regular files: the order, the refusals, the read-back, the roll-back."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from runtime import limits
from runtime.errors import ConflictError, DeniedError, InvalidError, NotFoundError, RefusedError, UnsupportedError
from runtime.kernel.cgroupfs import Cgroup, Mode
from runtime.limits import apply
from runtime.limits.review.facts import HostFacts
from runtime.model import (
    UNLIMITED,
    ContainerRef,
    DeviceRate,
    LimitChange,
    LimitName,
    Limits,
    Missing,
    Unlimited,
    Verdict,
)
from tests.unit.fake_kernel import CPUS, FakeKernel

MB = 1024 * 1024
REF = ContainerRef("test", "0" * 64)
EVERY = (Mode.V1, Mode.V2, Mode.HYBRID)


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = HostFacts(ncpu=4, cpus="0-3", mems="0", memory_total=8 << 30, swap_total=0, pid_max=32768)
    monkeypatch.setattr(apply, "host_facts", lambda: facts)


@pytest.fixture(params=EVERY, ids=str)
def kernel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(tmp_path, request.param, monkeypatch)


@pytest.fixture
def v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(tmp_path, Mode.V1, monkeypatch)


@pytest.fixture
def v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(tmp_path, Mode.V2, monkeypatch)


def change_applied(cgroup: Cgroup, **fields: object) -> dict[LimitName, Verdict]:
    outcome = limits.change(REF, cgroup, LimitChange(**fields))  # type: ignore[arg-type]
    return {field.name: field.verdict for field in outcome.fields}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (LimitName.CPUS, 0.5),
        (LimitName.CPUS, 0.01),
        (LimitName.CPUS, 3.75),
        (LimitName.CPU_SHARES, 512),
        (LimitName.CPU_SHARES, 2),
        (LimitName.CPU_SHARES, 262144),
        (LimitName.CPUSET_CPUS, "1-2"),
        (LimitName.CPUSET_MEMS, "0"),
        (LimitName.MEMORY, 64 * MB),
        (LimitName.MEMORY_RESERVATION, 32 * MB),
        (LimitName.PIDS, 100),
    ],
)
def test_every_limit_is_held_and_lifted(kernel: FakeKernel, name: LimitName, value: object) -> None:
    cgroup = kernel.cgroup()
    assert change_applied(cgroup, **{name.value: value}) == {name: Verdict.APPLIED}
    if name is LimitName.CPU_SHARES:
        return
    assert limits.read(cgroup).get(name) == value
    assert change_applied(cgroup, **{name.value: UNLIMITED}) == {name: Verdict.APPLIED}
    none_reserved = 0 if kernel.mode is Mode.V2 else UNLIMITED
    lifted = {LimitName.CPUSET_CPUS: "0-3", LimitName.CPUSET_MEMS: "0", LimitName.MEMORY_RESERVATION: none_reserved}
    expected = lifted.get(name, UNLIMITED)
    assert limits.read(cgroup).get(name) == expected


def test_swap_is_apart_from_memory(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    for memory, swap in ((64 * MB, 0), (256 * MB, 64 * MB), (32 * MB, 32 * MB), (32 * MB, 0), (512 * MB, 512 * MB)):
        assert change_applied(cgroup, memory=memory, swap=swap) == {
            LimitName.MEMORY: Verdict.APPLIED,
            LimitName.SWAP: Verdict.APPLIED,
        }
        assert (limits.read(cgroup).memory, limits.read(cgroup).swap) == (memory, swap)
    assert set(change_applied(cgroup, memory=UNLIMITED, swap=UNLIMITED).values()) == {Verdict.APPLIED}


def test_changing_memory_alone_keeps_the_swap(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    change_applied(cgroup, memory=64 * MB, swap=16 * MB)
    for memory in (128 * MB, 32 * MB):
        assert change_applied(cgroup, memory=memory) == {LimitName.MEMORY: Verdict.APPLIED}
        assert limits.read(cgroup).swap == 16 * MB


def names(kernel: FakeKernel) -> list[str]:
    return [name for name, _ in kernel.writes]


def test_v1_raises_memsw_first_and_lowers_it_last(v1: FakeKernel) -> None:
    cgroup = v1.cgroup()
    change_applied(cgroup, memory=64 * MB, swap=0)
    v1.writes.clear()
    change_applied(cgroup, memory=128 * MB, swap=0)
    assert names(v1) == ["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"]
    v1.writes.clear()
    change_applied(cgroup, memory=32 * MB, swap=0)
    assert names(v1) == ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
    v1.writes.clear()
    change_applied(cgroup, memory=UNLIMITED)
    assert v1.writes == [("memory.memsw.limit_in_bytes", "-1"), ("memory.limit_in_bytes", "-1")]


def test_v2_raises_before_it_lowers(v2: FakeKernel) -> None:
    cgroup = v2.cgroup()
    change_applied(cgroup, memory=64 * MB, swap=64 * MB)
    v2.writes.clear()
    change_applied(cgroup, memory=128 * MB, swap=0)
    assert names(v2) == ["memory.max", "memory.swap.max"]
    v2.writes.clear()
    change_applied(cgroup, memory=64 * MB, swap=64 * MB)
    assert names(v2) == ["memory.swap.max", "memory.max"]


def test_v1_cannot_limit_swap_beside_unlimited_memory(v1: FakeKernel) -> None:
    with pytest.raises(InvalidError, match="Set a memory limit as well"):
        change_applied(v1.cgroup(), swap=64 * MB)
    assert v1.writes == []


def test_v1_without_swap_accounting_limits_memory_alone(v1: FakeKernel) -> None:
    cgroup = v1.cgroup()
    (cgroup.v1["memory"] / "memory.memsw.limit_in_bytes").unlink()
    assert change_applied(cgroup, memory=64 * MB) == {LimitName.MEMORY: Verdict.APPLIED}
    with pytest.raises(UnsupportedError, match="swap"):
        change_applied(cgroup, swap=64 * MB)


@pytest.mark.parametrize("cpus", [0.3, 2.0, UNLIMITED])
def test_a_burst_above_the_quota_is_lowered_first(kernel: FakeKernel, cpus: float) -> None:
    cgroup = kernel.cgroup()
    where = cgroup.where("cpu")
    assert where is not None
    change_applied(cgroup, cpus=1.0)
    burst = where[0] / ("cpu.max.burst" if where[1] == 2 else "cpu.cfs_burst_us")
    kernel.put(burst, "80000")
    assert change_applied(cgroup, cpus=cpus) == {LimitName.CPUS: Verdict.APPLIED}
    assert kernel.get(burst) == ("30000" if cpus == 0.3 else "80000")


def test_the_period_stays_unless_the_quota_would_be_too_small(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    where = cgroup.where("cpu")
    assert where is not None
    directory, version = where
    for file, text in (("cpu.max", "max 20000"),) if version == 2 else (("cpu.cfs_period_us", "20000"),):
        kernel.put(directory / file, text)
    assert change_applied(cgroup, cpus=0.5) == {LimitName.CPUS: Verdict.APPLIED}
    assert limits.read(cgroup).cpu_period == 20_000
    assert change_applied(cgroup, cpus=0.02) == {LimitName.CPUS: Verdict.APPLIED}
    assert limits.read(cgroup).cpu_period == 50_000


def test_memory_below_use_is_refused_before_any_write(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    kernel.uses(cgroup, 100 * MB, cache=20 * MB)
    with pytest.raises(RefusedError, match=r"64\.0 MiB: it uses 100\.0 MiB, and 80\.0 MiB of it cannot be reclaimed"):
        change_applied(cgroup, memory=64 * MB, pids=5)
    assert kernel.writes == []
    assert not kernel.oom_killed


def test_force_goes_to_the_kernel_which_answers_for_itself(v1: FakeKernel) -> None:
    cgroup = v1.cgroup()
    v1.uses(cgroup, 100 * MB)
    outcome = limits.change(REF, cgroup, LimitChange(pids=50, memory=64 * MB), force=True)
    verdicts = {field.name: field.verdict for field in outcome.fields}
    assert verdicts == {LimitName.PIDS: Verdict.ROLLED_BACK, LimitName.MEMORY: Verdict.FAILED}
    assert "more than that is in use and could not be reclaimed" in outcome.error
    assert limits.read(cgroup).pids is UNLIMITED


def test_a_forced_limit_below_use_never_kills_on_v2_either(v2: FakeKernel) -> None:
    cgroup = v2.cgroup()
    v2.uses(cgroup, 100 * MB)
    raw = limits.raw_files(cgroup)
    outcome = limits.change(REF, cgroup, LimitChange(pids=50, memory=64 * MB), force=True)
    verdicts = {field.name: field.verdict for field in outcome.fields}
    assert verdicts == {LimitName.PIDS: Verdict.ROLLED_BACK, LimitName.MEMORY: Verdict.FAILED}
    assert "100.0 MiB are in use and could not be reclaimed" in outcome.error
    assert limits.raw_files(cgroup) == raw
    assert not v2.oom_killed


@pytest.mark.parametrize(("high", "after"), [("max", "max"), (str(80 * MB), str(80 * MB))])
def test_v2_reclaims_by_memory_high_before_it_lowers_the_limit_below_the_use(
    v2: FakeKernel, high: str, after: str
) -> None:
    cgroup = v2.cgroup()
    assert cgroup.unified is not None
    v2.put(cgroup.unified / "memory.high", high)
    v2.uses(cgroup, 100 * MB, cache=50 * MB)
    assert change_applied(cgroup, memory=64 * MB) == {LimitName.MEMORY: Verdict.APPLIED}
    assert names(v2) == ["memory.high", "memory.max", "memory.high"]
    assert v2.get(cgroup.unified / "memory.high") == after
    assert not v2.oom_killed
    v2.uses(cgroup, 64 * MB, cache=50 * MB)
    v2.writes.clear()
    assert set(change_applied(cgroup, memory=32 * MB, memory_high=30 * MB).values()) == {Verdict.APPLIED}
    assert names(v2) == ["memory.high", "memory.max", "memory.high"]
    assert v2.get(cgroup.unified / "memory.high") == str(30 * MB)


@pytest.mark.parametrize(("asked", "after"), [(UNLIMITED, "max"), (200 * MB, str(200 * MB))])
def test_v2_sets_the_requested_memory_high_after_the_reclaim(
    v2: FakeKernel, asked: int | Unlimited, after: str
) -> None:
    cgroup = v2.cgroup()
    assert cgroup.unified is not None
    v2.uses(cgroup, 60 * MB, cache=50 * MB)
    assert set(change_applied(cgroup, memory=32 * MB, memory_high=asked).values()) == {Verdict.APPLIED}
    assert v2.get(cgroup.unified / "memory.high") == after
    assert not v2.oom_killed


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (LimitChange(cpus=0.005), "stop it for good"),
        (LimitChange(memory=MB), "kills most programs"),
        (LimitChange(cpuset_cpus="2,9"), "this machine has the CPUs 0-3"),
        (LimitChange(cpuset_mems="1"), "this machine has the memory nodes 0"),
        (LimitChange(memory=64 * MB, memory_reservation=65 * MB), "more than the memory limit"),
    ],
)
def test_harm_is_refused(kernel: FakeKernel, change: LimitChange, word: str) -> None:
    cgroup = kernel.cgroup()
    with pytest.raises(RefusedError, match=word):
        limits.change(REF, cgroup, change)
    assert kernel.writes == []


@pytest.mark.parametrize(
    "change",
    [
        LimitChange(cpus=-1.0),
        LimitChange(cpus=0.0),
        LimitChange(cpus=float("nan")),
        LimitChange(cpus=float("inf")),
        LimitChange(cpu_shares=1),
        LimitChange(cpu_shares=262_145),
        LimitChange(cpuset_cpus=""),
        LimitChange(cpuset_cpus="3-1"),
        LimitChange(cpuset_mems="x"),
        LimitChange(memory=-1),
        LimitChange(memory=2**61),
        LimitChange(swap=-1),
        LimitChange(pids=-1),
        LimitChange(pids=0),
        LimitChange(memory=0),
        LimitChange(memory_high=0),
        LimitChange(cpu_period=999),
        LimitChange(cpu_period=1_000_001),
        LimitChange(cpu_burst=-1),
        LimitChange(io_weight=0),
        LimitChange(io_weight=10_001),
        LimitChange(io_read_bps=(DeviceRate("8:0", 0),)),
        LimitChange(io_read_bps=(DeviceRate("8:0", -5),)),
        LimitChange(io_read_bps=(DeviceRate("sda", 5),)),
        LimitChange(io_read_bps=(DeviceRate("8:0\n9:0", 5),)),
        LimitChange(io_read_bps=(DeviceRate("8:0", 5), DeviceRate("8:0", 6))),
        LimitChange(io_write_iops=(DeviceRate("8:0", 2**32 - 1),)),  # which the kernel takes for no limit
        LimitChange(net_egress=999),  # a bucket has no ticks for less
        LimitChange(pids=4_194_305),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_malformed_values_are_invalid_even_when_forced(kernel: FakeKernel, change: LimitChange, force: bool) -> None:
    with pytest.raises(InvalidError):
        limits.change(REF, kernel.cgroup(), change, force=force)
    assert kernel.writes == []


def test_a_cpu_that_the_parent_does_not_have_is_refused(kernel: FakeKernel) -> None:
    kernel.cgroup("outer")
    inner = kernel.cgroup("outer/inner")
    where = inner.where("cpuset")
    assert where is not None
    directory, version = where
    for file in ("cpuset.cpus", "cpuset.cpus.effective") if version == 2 else ("cpuset.cpus", "cpuset.effective_cpus"):
        kernel.put(directory.parent / file, "0-1")
    with pytest.raises(RefusedError, match="the cgroup above it has 0-1 only"):
        change_applied(inner, cpuset_cpus="2")
    assert kernel.writes == []
    assert change_applied(inner, cpuset_cpus=UNLIMITED) == {LimitName.CPUSET_CPUS: Verdict.APPLIED}
    assert limits.read(inner).cpuset_cpus == "0-1"


def test_v2_takes_no_empty_list_while_there_are_processes(v2: FakeKernel) -> None:
    cgroup = v2.cgroup()
    assert cgroup.unified
    v2.put(cgroup.unified / "cgroup.events", "populated 1\nfrozen 0")
    assert change_applied(cgroup, cpuset_cpus="1") == {LimitName.CPUSET_CPUS: Verdict.APPLIED}
    assert change_applied(cgroup, cpuset_cpus=UNLIMITED) == {LimitName.CPUSET_CPUS: Verdict.APPLIED}
    assert v2.get(cgroup.unified / "cpuset.cpus") == CPUS


def test_v2_gives_back_every_cpu_when_a_later_write_fails(v2: FakeKernel) -> None:
    cgroup = v2.cgroup()
    assert cgroup.unified
    v2.put(cgroup.unified / "cgroup.events", "populated 1\nfrozen 0")
    v2.fail["memory.max"] = errno.EIO
    assert change_applied(cgroup, cpuset_cpus="1", memory=64 * MB)[LimitName.CPUSET_CPUS] is Verdict.ROLLED_BACK
    assert limits.read(cgroup).cpuset_cpus == CPUS


def test_the_weight_comes_back_when_the_idle_class_is_taken_back(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    change_applied(cgroup, cpu_shares=512)
    kernel.fail["memory.max"] = kernel.fail["memory.limit_in_bytes"] = errno.EIO
    assert change_applied(cgroup, cpu_idle=True, memory=64 * MB)[LimitName.CPU_IDLE] is Verdict.ROLLED_BACK
    held = limits.read(cgroup)
    assert held.cpu_idle is False
    assert limits.same(LimitName.CPU_SHARES, held.cpu_shares, 512)


def test_v1_quota_above_the_parents_says_why(v1: FakeKernel) -> None:
    outer = v1.cgroup("outer")
    inner = v1.cgroup("outer/inner")
    change_applied(outer, cpus=0.5)
    outcome = limits.change(REF, inner, LimitChange(cpus=1.0))
    assert not outcome.ok
    assert outcome.fields[0].verdict is Verdict.FAILED
    assert "a cgroup above it allows less" in outcome.fields[0].detail
    assert limits.read(inner).cpus is UNLIMITED


def test_an_idle_cgroup_takes_no_weight_and_keeps_the_rest(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    where = cgroup.where("cpu")
    assert where is not None
    kernel.put(where[0] / "cpu.idle", "1")
    with pytest.raises(ConflictError, match="idle class"):
        change_applied(cgroup, cpu_shares=512, pids=10)
    assert kernel.writes == []
    assert change_applied(cgroup, cpus=0.5) == {LimitName.CPUS: Verdict.APPLIED}


@pytest.mark.parametrize("weight", [59, 20])
def test_both_ways_of_turning_shares_into_weight_count(v2: FakeKernel, weight: int) -> None:
    cgroup = v2.cgroup()
    assert cgroup.unified is not None
    before = limits.read(cgroup)
    v2.put(cgroup.unified / "cpu.weight", str(weight))
    outcome = limits.verify(REF, cgroup, LimitChange(cpu_shares=512), before, None)
    assert outcome.fields[0].verdict is Verdict.APPLIED
    v2.put(cgroup.unified / "cpu.weight", "77")
    assert not limits.verify(REF, cgroup, LimitChange(cpu_shares=512), before, None).ok


def test_bytes_are_rounded_to_pages_and_no_further(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    assert change_applied(cgroup, memory=64 * MB + 1) == {LimitName.MEMORY: Verdict.ROUNDED}
    assert limits.read(cgroup).memory == 64 * MB
    outcome = limits.verify(REF, cgroup, LimitChange(memory=64 * MB + 70_000), limits.read(cgroup), None)
    assert not outcome.ok


@pytest.mark.parametrize(
    ("name", "value", "file"),
    [
        (LimitName.CPUS, 0.5, {"cpu.max", "cpu.cfs_quota_us"}),
        (LimitName.CPU_SHARES, 100, {"cpu.weight", "cpu.shares"}),
        (LimitName.CPUSET_CPUS, "1", {"cpuset.cpus"}),
        (LimitName.MEMORY, 64 * MB, {"memory.max", "memory.limit_in_bytes"}),
        (LimitName.PIDS, 9, {"pids.max"}),
    ],
)
def test_a_silent_no_op_is_a_failure(kernel: FakeKernel, name: LimitName, value: object, file: set[str]) -> None:
    cgroup = kernel.cgroup()
    kernel.ignore = file
    outcome = limits.change(REF, cgroup, LimitChange.of({name: value}))
    assert not outcome.ok
    assert outcome.fields[0].verdict is Verdict.IGNORED
    assert "still holds the old value" in outcome.fields[0].detail


def test_another_value_than_asked_for_is_a_failure(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    before = limits.read(cgroup)
    change_applied(cgroup, pids=7)
    outcome = limits.verify(REF, cgroup, LimitChange(pids=9), before, Limits(pids=9))
    assert outcome.fields[0].verdict is Verdict.FAILED
    assert (outcome.fields[0].engine, outcome.fields[0].kernel) == (9, 7)
    assert outcome.fields[0].detail == "the kernel holds 7"


ALL = LimitChange(
    cpus=0.5,
    cpu_burst=10_000,
    cpu_shares=512,
    cpu_idle=True,
    cpuset_cpus="1",
    memory=64 * MB,
    memory_reservation=32 * MB,
    pids=9,
    io_weight=50,
    io_read_bps=(DeviceRate("8:0", MB), DeviceRate("254:0", 2 * MB)),
    io_write_iops=(DeviceRate("8:0", 100),),
)


@pytest.mark.parametrize("position", range(12))
def test_any_write_that_fails_takes_back_those_before_it(kernel: FakeKernel, position: int) -> None:
    cgroup = kernel.cgroup()
    change_applied(cgroup, cpus=2.0, memory=128 * MB, pids=70, cpuset_cpus="0-2")
    before = limits.read(cgroup)
    raw = limits.raw_files(cgroup)
    file = apply.steps(cgroup, ALL)[position].title
    kernel.fail = {file.removeprefix("the note "): errno.EINVAL}
    outcome = limits.change(REF, cgroup, ALL)
    assert not outcome.ok
    assert file.removeprefix("the note ") in outcome.error
    assert {field.verdict for field in outcome.fields} <= {Verdict.FAILED, Verdict.ROLLED_BACK}
    assert limits.read(cgroup) == before
    assert limits.raw_files(cgroup) == raw
    assert kernel.notes == {}


def test_a_burst_that_was_lowered_is_taken_back_too(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    where = cgroup.where("cpu")
    assert where is not None
    change_applied(cgroup, cpus=1.0)
    kernel.put(where[0] / ("cpu.max.burst" if where[1] == 2 else "cpu.cfs_burst_us"), "80000")
    raw = limits.raw_files(cgroup)
    kernel.fail = {"cpu.max": errno.EINVAL, "cpu.cfs_quota_us": errno.EINVAL}
    assert change_applied(cgroup, cpus=0.5) == {LimitName.CPUS: Verdict.FAILED}
    assert limits.raw_files(cgroup) == raw


def test_a_roll_back_reverts_in_reverse_order(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    change_applied(cgroup, memory=64 * MB, swap=0, memory_reservation=48 * MB)
    before = limits.read(cgroup)
    kernel.fail = {"memory.soft_limit_in_bytes": errno.EINVAL, "memory.low": errno.EINVAL}
    outcome = limits.change(REF, cgroup, LimitChange(memory=128 * MB, swap=0, memory_reservation=32 * MB))
    assert not outcome.ok
    assert "not taken back" not in outcome.error
    assert limits.read(cgroup) == before


def test_a_failed_roll_back_is_reported(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    real = kernel.write

    def write(path: Path, text: str) -> None:
        if path.name.startswith("memory."):
            kernel.fail = {path.name: errno.EINVAL, "pids.max": errno.EIO}
        real(path, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runtime.kernel.files.write", write)
        outcome = limits.change(REF, cgroup, LimitChange(pids=9, memory=64 * MB))
    by_name = {field.name: field for field in outcome.fields}
    assert by_name[LimitName.PIDS].verdict is Verdict.FAILED
    assert by_name[LimitName.PIDS].kernel == 9
    assert "could not be taken back" in by_name[LimitName.PIDS].detail
    assert "not taken back" in outcome.error


def test_a_roll_back_that_the_kernel_ignores_is_reported(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    real = kernel.write

    def write(path: Path, text: str) -> None:
        if path.name.startswith("memory."):
            kernel.fail, kernel.ignore = {path.name: errno.EINVAL}, {"pids.max"}
        real(path, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runtime.kernel.files.write", write)
        outcome = limits.change(REF, cgroup, LimitChange(pids=9, memory=64 * MB))
    assert "pids.max held max and now holds 9" in outcome.error


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EACCES, DeniedError), (errno.EROFS, DeniedError), (errno.ENODEV, NotFoundError)]
)
def test_a_first_write_that_is_denied_raises(kernel: FakeKernel, number: int, kind: type[Exception]) -> None:
    cgroup = kernel.cgroup()
    kernel.fail = {"pids.max": number}
    with pytest.raises(kind) as caught:
        change_applied(cgroup, pids=9)
    assert "pids.max" in str(caught.value)
    if kind is DeniedError:
        assert "Run as root" in str(caught.value)


def test_nothing_is_begun_when_one_file_may_not_be_written(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup = kernel.cgroup()
    monkeypatch.setattr("os.access", lambda path, mode, **_: not str(path).endswith(("memory.max", "limit_in_bytes")))
    with pytest.raises(DeniedError, match="delegated"):
        change_applied(cgroup, pids=9, memory=64 * MB)
    assert kernel.writes == []


def test_a_missing_controller_is_unsupported(v2: FakeKernel) -> None:
    cgroup = v2.cgroup()
    without = Cgroup(cgroup.v1, cgroup.unified, cgroup.controllers - {"memory"})
    assert limits.read(without).memory is Missing.UNSUPPORTED
    with pytest.raises(UnsupportedError, match="doctor"):
        change_applied(without, memory=64 * MB, pids=9)
    assert v2.writes == []


def test_v1_has_no_memory_high(v1: FakeKernel) -> None:
    with pytest.raises(UnsupportedError):
        change_applied(v1.cgroup("one"), memory_high=64 * MB)


def test_v2_has_memory_high(v2: FakeKernel) -> None:
    cgroup = v2.cgroup()
    assert change_applied(cgroup, memory_high=64 * MB) == {LimitName.MEMORY_HIGH: Verdict.APPLIED}
    assert change_applied(cgroup, memory_high=UNLIMITED) == {LimitName.MEMORY_HIGH: Verdict.APPLIED}


def test_a_cgroup_that_is_gone_is_not_found(kernel: FakeKernel) -> None:
    gone = Cgroup({"pids": kernel.root / "pids" / "gone"}, kernel.root / "unified" / "gone", frozenset({"pids"}))
    assert limits.read(gone).pids is Missing.GONE
    with pytest.raises(NotFoundError):
        change_applied(gone, pids=9)
