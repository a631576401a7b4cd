"""The ladder of each resource, on v2 and on v1: which rungs, in which order, what they change, why one is skipped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runtime.containment.ladder import LADDERS, next_rung
from runtime.containment.proposals import NOTHING_MORE
from runtime.containment.rung import Case, DiskUse, Party, ResourceUse, RungId, TargetKind, Whom
from runtime.model import UNLIMITED, DeviceRate, LimitChange, LimitName, Limits, Resource

V2 = Limits(
    cpus=UNLIMITED,
    cpu_shares=1024,
    cpu_idle=False,
    memory=UNLIMITED,
    memory_high=UNLIMITED,
    memory_reservation=0,
    pids=UNLIMITED,
    io_weight=100,
    io_read_bps=(),
    io_write_bps=(),
    io_read_iops=(),
    io_write_iops=(),
    net_egress=UNLIMITED,
    net_ingress=UNLIMITED,
)
V1_REFUSED = {
    LimitName.MEMORY_HIGH: "memory.high needs cgroup v2, and this host has v1 memory cgroups",
    LimitName.IO_WEIGHT: "this kernel has neither BFQ nor iocost for I/O weights",
}
MIB = 1 << 20
BUSY = ResourceUse(
    cpu=2.0,
    memory=400 * MIB,
    tasks=50,
    disks={"8:0": DiskUse(read_bytes=100e6, write_bytes=1e5, read_ops=800.0, write_ops=4.0)},
    sent=80e6,
    received=1e3,
)


def party(limits: Limits = V2, *, v1: bool = False, **more: Any) -> Party:
    if v1:
        limits = limits.merge({LimitName.MEMORY_RESERVATION: UNLIMITED})
    return Party(limits=limits, use=BUSY, refused=V1_REFUSED if v1 else {}, **more)


def case(resource: Resource, *, v1: bool = False, **more: Any) -> Case:
    known: dict[str, Any] = {"suspect": party(v1=v1), "victim": party(v1=v1), "first_use": BUSY}
    return Case(resource=resource, **(known | more))


def climbed(found: Case) -> list[RungId]:
    """Every rung to the top, as if each change had been made."""
    taken: list[RungId] = []
    for _ in range(100):
        step = next_rung(found, taken)
        if step.rung is None:
            return list(dict.fromkeys(taken))
        taken.append(step.rung.id)
        if step.rung.whom is Whom.SUSPECT:
            limits = found.suspect.limits.merge(dict(step.change.items()))
            found = replace(found, suspect=replace(found.suspect, limits=limits))
    raise AssertionError("the ladder has no end")


@pytest.mark.parametrize(
    ("resource", "v1", "rungs"),
    [
        (Resource.CPU, False, "protect_cpu cpu_weight cpu_idle cpu_quota freeze"),
        (Resource.CPU, True, "protect_cpu cpu_weight cpu_idle cpu_quota freeze"),
        (Resource.MEMORY, False, "protect_memory memory_high freeze"),
        (Resource.MEMORY, True, "memory_soft_limit memory_limit freeze"),
        (Resource.IO, False, "protect_io io_weight disk_rate freeze"),
        (Resource.IO, True, "disk_rate freeze"),
        (Resource.NETWORK, False, "network_rate freeze"),
        (Resource.NETWORK, True, "network_rate freeze"),
        (Resource.TASKS, False, "tasks cpu_weight cpu_idle cpu_quota freeze"),
        (Resource.TASKS, True, "tasks cpu_weight cpu_idle cpu_quota freeze"),
    ],
)
def test_rungs_of_a_resource_the_mildest_first(resource: Resource, v1: bool, rungs: str) -> None:
    assert climbed(case(resource, v1=v1)) == rungs.split()


def test_no_rung_kills_and_only_the_last_freezes() -> None:
    for ladder in LADDERS.values():
        assert [rung.freezes for rung in ladder] == [False] * (len(ladder) - 1) + [True]
        assert all(rung.cost for rung in ladder)


FIRST: dict[RungId, LimitChange] = {
    RungId.PROTECT_CPU: LimitChange(cpu_shares=4096),
    RungId.CPU_WEIGHT: LimitChange(cpu_shares=102),
    RungId.CPU_IDLE: LimitChange(cpu_idle=True),
    RungId.CPU_QUOTA: LimitChange(cpus=1.4),
    RungId.PROTECT_MEMORY: LimitChange(memory_reservation=400 * MIB),
    RungId.MEMORY_SOFT_LIMIT: LimitChange(memory_reservation=200 * MIB),
    RungId.MEMORY_HIGH: LimitChange(memory_high=360 * MIB),
    RungId.MEMORY_LIMIT: LimitChange(memory=360 * MIB),
    RungId.PROTECT_IO: LimitChange(io_weight=400),
    RungId.IO_WEIGHT: LimitChange(io_weight=10),
    RungId.DISK_RATE: LimitChange(io_read_bps=(DeviceRate("8:0", 50_000_000),)),
    RungId.NETWORK_RATE: LimitChange(net_egress=40_000_000),
    RungId.TASKS: LimitChange(pids=50),
    RungId.FREEZE: LimitChange(),
}


@pytest.mark.parametrize("rung", RungId)
def test_what_a_rung_changes(rung: RungId) -> None:
    """Each once, where it is to be had: those of v1 on v1."""
    v1 = rung in (RungId.MEMORY_SOFT_LIMIT, RungId.MEMORY_LIMIT)
    resource, ladder = next((key, each) for key, each in LADDERS.items() if rung in [one.id for one in each])
    below = [each.id for each in ladder][: [each.id for each in ladder].index(rung)]
    step = next_rung(case(resource, v1=v1), below)
    while step.rung is not None and step.rung.id in below:  # one that repeats
        step = next_rung(case(resource, v1=v1), below, {step.rung.id: "tried"})
    assert step.rung is not None
    assert (step.rung.id, step.change) == (rung, FIRST[rung])


def test_steps_of_a_rung_that_repeats_end_at_a_floor() -> None:
    found = case(Resource.MEMORY)
    sizes = []
    for _ in range(20):
        step = next_rung(found, [RungId.MEMORY_HIGH])
        if step.rung is None or step.rung.id is not RungId.MEMORY_HIGH:
            break
        sizes.append(step.change.memory_high)
        found = replace(found, suspect=replace(found.suspect, limits=replace(V2, memory_high=sizes[-1])))
    assert len(sizes) > 3
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 200 * MIB, "half of what it had at first"
    assert step.skipped[0] == (RungId.MEMORY_HIGH, NOTHING_MORE) or step.skipped[0].reason == NOTHING_MORE


def test_small_requests_are_limited_by_operations() -> None:
    use = ResourceUse(disks={"8:0": DiskUse(read_bytes=4e6, read_ops=1000.0)})
    suspect = Party(limits=V2, use=use)
    step = next_rung(case(Resource.IO, suspect=suspect), [RungId.IO_WEIGHT])
    assert step.change == LimitChange(io_read_iops=(DeviceRate("8:0", 500),))


def test_only_the_device_on_which_the_victim_waits_is_limited() -> None:
    use = ResourceUse(disks={name: DiskUse(write_bytes=50e6, write_ops=50.0) for name in ("8:0", "8:16")})
    found = case(Resource.IO, suspect=Party(limits=V2, use=use), device="8:16")
    step = next_rung(found, [RungId.IO_WEIGHT])
    assert step.change == LimitChange(io_write_bps=(DeviceRate("8:16", 25_000_000),))


@pytest.mark.parametrize(
    ("found", "rung", "words"),
    [
        (case(Resource.CPU, siblings=False), RungId.CPU_IDLE, "the same parent"),
        (case(Resource.CPU, victim=None), RungId.PROTECT_CPU, "no container"),
        (case(Resource.CPU, suspect=party(untouchable="it is marked")), RungId.FREEZE, "it is marked"),
        (case(Resource.CPU, suspect=party(unfreezable="no freezer")), RungId.FREEZE, "no freezer"),
        (case(Resource.CPU, suspect=party(replace(V2, cpu_idle=True))), RungId.CPU_WEIGHT, "in the idle class"),
        (case(Resource.CPU, suspect=party(replace(V2, cpu_shares=2))), RungId.CPU_WEIGHT, "low already"),
        (case(Resource.CPU, victim=party(replace(V2, cpu_shares=65536))), RungId.PROTECT_CPU, "high weight"),
        (case(Resource.MEMORY, v1=True), RungId.MEMORY_HIGH, "needs cgroup v2"),
        (case(Resource.IO, v1=True), RungId.IO_WEIGHT, "neither BFQ nor iocost"),
        (case(Resource.MEMORY), RungId.MEMORY_LIMIT, "kills nobody"),
        (case(Resource.NETWORK, suspect=Party(limits=Limits(), use=BUSY)), RungId.NETWORK_RATE, "unsupported"),
        (case(Resource.TASKS, suspect=party(replace(V2, pids=50))), RungId.TASKS, "no more tasks"),
    ],
)
def test_a_rung_that_cannot_be_had_is_skipped_with_the_reason(found: Case, rung: RungId, words: str) -> None:
    """All of a ladder's reasons are found when every rung that can be had was tried in vain."""
    failed: dict[RungId, str] = {}
    while (step := next_rung(found, failed=failed)).rung is not None:
        failed[step.rung.id] = "tried"
    reasons = {each.rung: each.reason for each in step.skipped}
    assert words in reasons[rung]


def test_a_process_gets_nice_and_the_idle_policy_and_no_more() -> None:
    suspect = Party(kind=TargetKind.PROCESS, use=BUSY)
    found = case(Resource.CPU, suspect=suspect)
    assert next_rung(found, [RungId.PROTECT_CPU]).change == LimitChange(cpu_shares=102)
    assert next_rung(found, [RungId.CPU_WEIGHT]).change == LimitChange(cpu_idle=True)
    end = next_rung(found, [RungId.CPU_IDLE])
    assert end.rung is None
    assert "a process of the host" in end.skipped[0].reason


def test_a_rung_that_failed_is_passed_over() -> None:
    step = next_rung(case(Resource.CPU), [], {RungId.PROTECT_CPU: "EBUSY"})
    assert step.rung is not None
    assert step.rung.id is RungId.CPU_WEIGHT
    assert [(each.rung, each.reason) for each in step.skipped] == [(RungId.PROTECT_CPU, "EBUSY")]
