"""Period, burst and the idle class on kernels of regular files: what goes together, the order, the way back."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import limits
from runtime.errors import ConflictError, RefusedError, UnsupportedError
from runtime.kernel.cgroupfs import Cgroup, Mode
from runtime.limits import apply
from runtime.limits.controllers.cpu import consistent
from runtime.limits.controllers.weight import WEIGHT_ATTRIBUTE
from runtime.limits.review.facts import HostFacts
from runtime.model import (
    UNLIMITED,
    ContainerRef,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    Verdict,
)
from tests.unit.fake_kernel import FakeKernel

REF = ContainerRef("test", "0" * 64)


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = HostFacts(ncpu=4, cpus="0-3", mems="0", memory_total=8 << 30, swap_total=0, pid_max=32768)
    monkeypatch.setattr(apply, "host_facts", lambda: facts)


@pytest.fixture(params=(Mode.V1, Mode.V2, Mode.HYBRID), ids=str)
def kernel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(tmp_path, request.param, monkeypatch)


def change_applied(cgroup: Cgroup, **fields: object) -> None:
    outcome = limits.change(REF, cgroup, LimitChange(**fields))  # type: ignore[arg-type]
    assert outcome.ok, outcome
    assert {field.verdict for field in outcome.fields} == {Verdict.APPLIED}


def held(cgroup: Cgroup) -> tuple[object, object, object]:
    now = limits.read(cgroup)
    return now.cpus, now.cpu_period, now.cpu_burst


def names(kernel: FakeKernel) -> list[str]:
    found = [name for name, _ in kernel.writes]
    kernel.writes.clear()
    return found


def test_a_period_keeps_the_cores_and_cores_keep_the_period(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    change_applied(cgroup, cpus=0.5)
    change_applied(cgroup, cpu_period=20_000)
    assert held(cgroup) == (0.5, 20_000, 0)
    change_applied(cgroup, cpus=1.5)
    assert held(cgroup) == (1.5, 20_000, 0)
    change_applied(cgroup, cpu_period=1_000_000)
    assert held(cgroup) == (1.5, 1_000_000, 0)
    change_applied(cgroup, cpus=UNLIMITED)
    change_applied(cgroup, cpu_period=50_000)
    assert held(cgroup) == (UNLIMITED, 50_000, 0)
    change_applied(cgroup, cpus=0.25, cpu_period=10_000, cpu_burst=2_500)
    assert held(cgroup) == (0.25, 10_000, 2_500)


def test_two_files_of_v1_never_give_more_than_the_larger_of_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = FakeKernel(tmp_path, Mode.V1, monkeypatch)
    cgroup = kernel.cgroup()
    change_applied(cgroup, cpus=0.5)
    names(kernel)
    change_applied(cgroup, cpu_period=20_000)
    assert names(kernel) == ["cpu.cfs_quota_us", "cpu.cfs_period_us"], "0.1 cores in between, not 2.5"
    change_applied(cgroup, cpu_period=200_000)
    assert names(kernel) == ["cpu.cfs_period_us", "cpu.cfs_quota_us"], "0.05 cores in between, not 5"


@given(
    st.tuples(st.integers(1, 4000), st.integers(10_000, 1_000_000)),
    st.tuples(st.integers(1, 4000), st.integers(10_000, 1_000_000)),
)
def test_no_order_of_v1_passes_a_parents_limit(before: tuple[int, int], after: tuple[int, int]) -> None:
    """A parent that allows both the old and the new value refuses no step between them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply, "refuse", lambda *_: None)
        text = {"cpu.cfs_quota_us": "", "cpu.cfs_period_us": "", "cpu.cfs_burst_us": "0"}
        cores = [max(count / 1000, 1000 / period) for count, period in (before, after)]
        text["cpu.cfs_period_us"] = str(before[1])
        text["cpu.cfs_quota_us"] = str(max(1000, round(cores[0] * before[1])))
        patch.setattr("runtime.kernel.files.try_read", lambda path: text.get(path.name, Missing.UNSUPPORTED))
        patch.setattr("runtime.kernel.files.read", lambda path: text[path.name])
        change = LimitChange(cpus=cores[1], cpu_period=after[1])
        most = max(int(text["cpu.cfs_quota_us"]) / before[1], round(cores[1] * after[1]) / after[1])
        for step in apply.cpu.steps(Cgroup({"cpu": Path("/x")}), change):
            assert isinstance(step, apply.cpu.FileWrite)
            text[step.path.name] = step.text
            assert int(text["cpu.cfs_quota_us"]) / int(text["cpu.cfs_period_us"]) <= most + 1e-9
        assert (int(text["cpu.cfs_quota_us"]), int(text["cpu.cfs_period_us"])) == (round(cores[1] * after[1]), after[1])


def test_a_burst_is_lowered_before_a_quota_and_raised_after_it(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    burst = "cpu.max.burst" if kernel.mode is Mode.V2 else "cpu.cfs_burst_us"
    change_applied(cgroup, cpus=0.5, cpu_burst=50_000)
    assert names(kernel)[-1] == burst, "raised after the quota"
    change_applied(cgroup, cpus=0.3)
    assert held(cgroup) == (0.3, 100_000, 30_000)
    assert names(kernel)[0] == burst, "lowered before the quota"
    change_applied(cgroup, cpus=1.0, cpu_burst=20_000)
    assert names(kernel)[0] == burst
    change_applied(cgroup, cpu_period=10_000)
    assert held(cgroup) == (1.0, 10_000, 10_000)
    change_applied(cgroup, cpu_burst=0)
    assert held(cgroup) == (1.0, 10_000, 0)


def test_a_burst_above_the_quota_is_refused_with_the_figures(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    change_applied(cgroup, cpus=0.5)
    kernel.writes.clear()
    with pytest.raises(RefusedError, match="80ms: more than the 50ms"):
        change_applied(cgroup, cpu_burst=80_000)
    with pytest.raises(RefusedError, match=r"5ms: 0\.1 cores .* at least 10ms"):
        change_applied(cgroup, cpus=0.1, cpu_period=5_000)
    assert kernel.writes == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"cpus": 0.1, "cpu_period": 50_000, "cpu_burst": 40_000}, (50_000, 5_000)),
        ({"cpus": 0.02, "cpu_period": 20_000}, (50_000, None)),
        ({"cpus": 0.02, "cpu_burst": 40_000}, (None, 2_000)),
        ({"cpus": 1.5}, (None, None)),
        ({"cpus": UNLIMITED, "cpu_period": 1_000, "cpu_burst": 40_000}, (1_000, 40_000)),
        ({"cpu_burst": 40_000}, (None, 40_000)),
    ],
)
def test_limits_that_are_to_hold_together_are_what_the_kernel_makes_of_them(
    kernel: FakeKernel, fields: dict[str, Any], expected: tuple[int | None, int | None]
) -> None:
    fitting = consistent(LimitChange(**fields))
    assert (fitting.cpu_period, fitting.cpu_burst) == expected
    live_one = kernel.cgroup("live")
    for name, value in reversed(fields.items()):
        change_applied(live_one, **{name: value})
    fresh = kernel.cgroup("fresh")
    change_applied(fresh, **{name.value: value for name, value in fitting.items()})
    assert held(fresh) == held(live_one)


@pytest.mark.parametrize("shares", [512, 1024, 4096])
def test_the_idle_class_gives_the_weight_back(kernel: FakeKernel, shares: int) -> None:
    cgroup = kernel.cgroup()
    where = cgroup.where("cpu")
    assert where is not None
    file = where[0] / ("cpu.weight" if where[1] == 2 else "cpu.shares")
    change_applied(cgroup, cpu_shares=shares)
    before, text = limits.read(cgroup).cpu_shares, kernel.get(file)
    change_applied(cgroup, cpu_idle=True)
    assert kernel.get(file) == ("0" if where[1] == 2 else "3"), "what the kernel shows in the class"
    assert limits.read(cgroup).cpu_idle is True
    assert limits.read(cgroup).cpu_shares == before, "the one that comes back"
    change_applied(cgroup, cpu_idle=True)
    change_applied(cgroup, cpu_idle=False)
    assert (kernel.get(file), limits.read(cgroup).cpu_idle) == (text, False)
    assert kernel.notes == {}


def test_weight_and_class_in_one_change(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    change_applied(cgroup, cpu_shares=512, cpu_idle=True)
    with pytest.raises(ConflictError, match="idle class"):
        change_applied(cgroup, cpu_shares=256, cpu_idle=True)
    change_applied(cgroup, cpu_shares=2048, cpu_idle=False)
    outcome = limits.verify(REF, cgroup, LimitChange(cpu_shares=2048, cpu_idle=False), Limits(), None)
    assert outcome.ok
    assert kernel.notes == {}


def test_an_idle_class_set_by_another_program_ends_at_the_default_weight(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    where = cgroup.where("cpu")
    assert where is not None
    change_applied(cgroup, cpu_shares=512)
    kernel.write(where[0] / "cpu.idle", "1")
    assert limits.read(cgroup).cpu_shares == 1024, "no note tells of another one"
    change_applied(cgroup, cpu_idle=False)
    assert limits.read(cgroup).cpu_shares == 1024


@pytest.mark.parametrize("file", ["cpu.idle", "cpu.weight", "cpu.shares"])
def test_a_way_out_that_fails_leaves_class_and_note(kernel: FakeKernel, file: str) -> None:
    cgroup = kernel.cgroup()
    change_applied(cgroup, cpu_shares=512)
    change_applied(cgroup, cpu_idle=True)
    raw, notes = limits.raw_files(cgroup), dict(kernel.notes)
    assert [key for _, key in notes] == [WEIGHT_ATTRIBUTE]
    kernel.fail = {file: errno.EIO}
    change = LimitChange(cpu_idle=False, pids=9)
    if any(step.title == file for step in apply.steps(cgroup, change)):
        assert not limits.change(REF, cgroup, change).ok
        assert (limits.raw_files(cgroup), kernel.notes) == (raw, notes)


def test_kernels_without_burst_and_idle_say_so(kernel: FakeKernel) -> None:
    cgroup = kernel.cgroup()
    where = cgroup.where("cpu")
    assert where is not None
    for file in ("cpu.idle", "cpu.max.burst", "cpu.cfs_burst_us"):
        (where[0] / file).unlink(missing_ok=True)
    for change in (LimitChange(cpu_idle=True), LimitChange(cpu_burst=1000)):
        with pytest.raises(UnsupportedError):
            limits.change(REF, cgroup, change)
    change_applied(cgroup, cpus=0.5, cpu_period=20_000, cpu_shares=512)


@pytest.mark.parametrize(
    ("requested", "kernel_holds", "recorded", "survives"),
    [
        (Limits(cpus=0.5), Limits(cpus=0.5), Limits(cpus=0.5), True),
        (Limits(cpus=0.5), Limits(cpus=0.5), Limits(cpus=2.0), False),
        (Limits(cpus=0.5), Limits(cpus=0.5), Limits(), False),
        (Limits(cpus=0.5), Limits(cpus=0.5), Limits(cpus=Missing.DENIED), None),
        (Limits(cpu_shares=512), Limits(cpu_shares=513), Limits(cpu_shares=512), True),
        (Limits(cpuset_cpus="0-3"), Limits(cpuset_cpus="0-3"), Limits(cpuset_cpus="0,1,2,3"), True),
        (Limits(memory_reservation=UNLIMITED), Limits(memory_reservation=0), Limits(memory_reservation=0), True),
        (Limits(cpu_idle=True), Limits(cpu_idle=True), Limits(cpu_idle=False), False),
    ],
)
def test_what_survives_is_what_the_record_holds(
    requested: Limits, kernel_holds: Limits, recorded: Limits, survives: bool | None
) -> None:
    name = next(name for name in LimitName if not isinstance(requested.get(name), Missing))
    asked = requested.get(name)
    assert not isinstance(asked, Missing)
    for verdict in Verdict:
        field = FieldOutcome(name, asked, Missing.NOT_SAMPLED, asked, kernel_holds.get(name), verdict)
        made = verdict in (Verdict.APPLIED, Verdict.ROUNDED, Verdict.UNREADABLE)
        outcome = limits.with_persistence(LimitOutcome(REF, (field,)), recorded)
        assert outcome.fields[0].persistent is (survives if made else None)
