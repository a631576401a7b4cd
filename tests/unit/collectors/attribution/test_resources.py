"""Who holds memory, disks, the network and tasks: each kind of cause, and each that is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from collectors.attribution.attributor import Attributor
from collectors.attribution.evidence import Evidence, Resource
from collectors.sampling.frame import DiskLatency, HostProgram, HostUsage, IoRates, Usage
from runtime.model import ContainerRef, DeviceRate, LimitName
from tests.unit.collectors.attribution.scenes import (
    API,
    BATCH,
    OTHER,
    Moment,
    after,
    disk,
    frames,
    host,
    network,
    ref,
    stalls,
    told,
    usage,
)

MIB = 1 << 20


def growing(
    victim: Usage, others: Mapping[ContainerRef, float], about: HostUsage | None = None
) -> Callable[[float], Moment]:
    """A victim, and others whose working sets grow by so many bytes a second."""
    where = about or host(0.5)
    return lambda at_s: (
        where,
        {API: victim, **{other: resident(100 * MIB + by * at_s) for other, by in others.items()}},
    )


def resident(size: float, **fields: object) -> Usage:
    return usage(cpu=0.2, **{"memory": int(size), "working_set": int(size), **fields})


STALLED = resident(200 * MIB, pressure=stalls(memory=0.5), refaults=2000.0, major_faults=100.0)


def last(moment: Callable[[float], Moment], seconds: float = 10.0) -> Attributor:
    attributor = Attributor()
    for frame in frames(moment, seconds):
        attributor.take(frame)
    return attributor


def first_evidence(attributor: Attributor) -> Evidence:
    found = attributor.latest.strongest(API)
    assert found is not None
    return found


# memory


def test_memory_is_taken_by_the_one_that_grows() -> None:
    attributor = last(growing(STALLED._replace(refaults=10.0), {BATCH: 50 * MIB, OTHER: 0.0}))
    assert told(attributor.latest) == [("container", "batch")]
    evidence = first_evidence(attributor)
    figures = {figure.id: figure.value for figure in evidence.figures}
    assert evidence.resource is Resource.MEMORY
    assert figures["suspect_growth_bytes_per_s"] == pytest.approx(50 * MIB)
    assert (figures["refaults_per_s"], figures["major_faults_per_s"]) == (10.0, 100.0)


def test_a_memory_limit_gives_back_what_the_suspect_took() -> None:
    gain = first_evidence(last(growing(STALLED, {BATCH: 50 * MIB}))).gain
    assert gain is not None
    assert gain.limit is LimitName.MEMORY
    assert gain.gain == pytest.approx(2000 * 4096 * 7)


@pytest.mark.parametrize("limit", [200 * MIB, 209 * MIB])
def test_its_own_memory_limit_blames_nobody(limit: int) -> None:
    full = STALLED._replace(memory_limit=limit)
    attributor = last(growing(full, {BATCH: 50 * MIB}))
    assert told(attributor.latest) == [("own limit", "")]
    assert first_evidence(attributor).gain is None


def test_who_is_at_its_own_limit_takes_from_itself_alone() -> None:
    thrashing = resident(100 * MIB, memory_limit=100 * MIB, refaults=9000.0)
    moment = growing(STALLED._replace(refaults=0.0), {BATCH: 10 * MIB})
    assert told(last(lambda at_s: (moment(at_s)[0], {**moment(at_s)[1], OTHER: thrashing})).latest) == [
        ("container", "batch")
    ]


def test_page_cache_takes_no_memory() -> None:
    """Its working set stands still while its cache grows."""
    moment = growing(STALLED._replace(refaults=0.0), {BATCH: 0.0})

    def writer(at_s: float) -> Moment:
        about, usages = moment(at_s)
        return about, {**usages, OTHER: resident(100 * MIB, memory=int(100 * MIB + at_s * 100 * MIB))}

    assert told(last(writer).latest) == []


def test_its_own_growth_blames_nobody_else() -> None:
    def moment(at_s: float) -> Moment:
        grown = resident(100 * MIB + 50 * MIB * at_s, pressure=stalls(memory=0.5))
        return host(0.5), {API: grown, BATCH: resident(100 * MIB)}

    assert told(last(moment).latest) == [("itself", "")]


# disks


BUSY = {"8:0": DiskLatency(12.0, 30.0, 8.0, 0.95)}
SLOW = usage(cpu=0.1, pressure=stalls(io=0.6), **disk(1 * MIB, 20))


def test_a_disk_is_kept_busy_by_the_one_that_moves_most() -> None:
    usages = {API: SLOW, BATCH: usage(cpu=0.2, **disk(200 * MIB, 200)), OTHER: usage(cpu=0.1, **disk(2 * MIB, 2))}
    attribution = after(host(0.5, disks=BUSY), usages)
    assert told(attribution) == [("container", "batch")]
    evidence = attribution.strongest(API)
    assert evidence is not None
    assert (evidence.resource, evidence.device) == (Resource.IO, "8:0")
    figures = {figure.id: figure.value for figure in evidence.figures}
    assert figures == pytest.approx(
        {
            "victim_bytes_per_s": 1 * MIB,
            "suspect_bytes_per_s": 200 * MIB,
            "suspect_operations_per_s": 200,
            "read_ms": 12.0,
            "write_ms": 30.0,
            "busy_share": 0.95,
        }
    )
    assert evidence.gain is not None
    assert evidence.gain.limit is LimitName.IO_READ_BPS
    assert isinstance(evidence.gain.value, tuple)
    assert isinstance(evidence.gain.value[0], DeviceRate)
    assert evidence.gain.value[0].device == "8:0"
    assert evidence.gain.gain == pytest.approx(MIB * 0.6 / 0.4, rel=1e-3)


def test_many_small_requests_keep_a_disk_busy() -> None:
    usages = {API: SLOW, BATCH: usage(cpu=0.2, **disk(4 * MIB, 1000)), OTHER: usage(cpu=0.2, **disk(8 * MIB, 8))}
    assert told(after(host(0.5, disks=BUSY), usages)) == [("container", "batch")]


def test_another_disk_is_in_nobodys_way() -> None:
    usages = {API: SLOW, BATCH: usage(cpu=0.2, **disk(200 * MIB, 200, device="8:16"))}
    assert told(after(host(0.5, disks={**BUSY, "8:16": BUSY["8:0"]}), usages)) == [("itself", "")]


def test_a_stacked_device_is_one_that_containers_share() -> None:
    own = {"io": IoRates(0.0, 0.0, 0.0, 0.0)}
    usages = {
        API: usage(cpu=0.1, pressure=stalls(io=0.6), io_stacked={"7:0": IoRates(MIB, 0.0, 10.0, 0.0)}, **own),
        BATCH: usage(cpu=0.1, io_stacked={"7:0": IoRates(0.0, 90.0 * MIB, 0.0, 90.0)}, **own),
    }
    attribution = after(host(0.5, disks={"7:0": BUSY["8:0"]}), usages)
    assert told(attribution) == [("container", "batch")]
    evidence = attribution.strongest(API)
    assert evidence is not None
    assert evidence.device == "7:0"


def test_writes_whose_device_is_not_known_are_on_the_busiest() -> None:
    """On cgroup v1 writes by way of the page cache are known as a sum only."""
    written = {"io": IoRates(0.0, 300.0 * MIB, 0.0, 0.0), "io_devices": {"8:0": IoRates(0.0, 0.0, 0.0, 0.0)}}
    usages = {API: SLOW, BATCH: usage(cpu=0.2, **written)}
    assert told(after(host(0.5, disks=BUSY), usages)) == [("container", "batch")]


def test_a_program_of_the_host_can_keep_a_disk_busy() -> None:
    backup = HostProgram(
        pid=9, name="tar", unit="backup.service", cpu=0.1, cpus=frozenset(), read_bytes=200.0 * MIB, write_bytes=0.0
    )
    assert told(after(host(0.5, disks=BUSY, programs=(backup,)), {API: SLOW})) == [("unit", "backup.service")]


def test_a_wait_on_a_disk_with_nothing_to_do_is_due_to_a_limit() -> None:
    usages = {API: SLOW, BATCH: usage(cpu=0.2, **disk(2 * MIB, 20))}
    idle = {"8:0": DiskLatency(1.0, 1.0, 0.1, 0.05)}
    assert told(after(host(0.5, disks=idle), usages)) == [("own limit", "")]


def test_less_weight_on_a_disk_gives_way() -> None:
    usages = {
        API: SLOW._replace(io_weight=100),
        BATCH: usage(cpu=0.2, io_weight=1, **disk(100 * MIB, 100)),
        OTHER: usage(cpu=0.2, io_weight=100, **disk(100 * MIB, 100)),
    }
    assert told(after(host(0.5, disks=BUSY), usages)) == [("container", "other")]


# the network


def test_the_way_out_is_filled_by_the_one_that_moves_most() -> None:
    usages = {
        API: usage(cpu=0.1, net=network(200_000), retransmits=10.0),
        BATCH: usage(cpu=0.1, net=network(90e6)),
        OTHER: usage(cpu=0.1, net=network(1e6)),
    }
    attribution = after(host(0.5, net_rx=46e6, net_tx=46e6), usages)
    assert told(attribution) == [("container", "batch")]
    evidence = attribution.strongest(API)
    assert evidence is not None
    assert evidence.resource is Resource.NETWORK
    assert {figure.id for figure in evidence.figures} == {
        *("retransmits_per_s", "drops_per_s", "victim_bytes_per_s", "suspect_bytes_per_s")
    }
    assert evidence.gain is not None
    assert evidence.gain.limit is LimitName.NET_EGRESS


def test_drops_count_as_losses() -> None:
    usages = {API: usage(cpu=0.1, net=network(200_000, drops=20.0)), BATCH: usage(cpu=0.1, net=network(90e6))}
    assert told(after(host(0.5), usages)) == [("container", "batch")]


def test_a_queue_of_its_own_is_its_own_limit() -> None:
    usages = {
        API: usage(cpu=0.1, net=network(200_000), retransmits=5.0, backlog=60_000),
        BATCH: usage(cpu=0.1, net=network(90e6)),
    }
    assert told(after(host(0.5), usages)) == [("own limit", "")]


def test_traffic_of_the_host_has_no_name() -> None:
    usages = {API: usage(cpu=0.1, net=network(200_000), retransmits=10.0)}
    assert told(after(host(0.5, net_rx=50e6, net_tx=50e6), usages)) == [("diffuse", "")]


def test_its_own_traffic_blames_nobody_else() -> None:
    usages = {API: usage(cpu=0.1, net=network(90e6), retransmits=5000.0), BATCH: usage(cpu=0.1, net=network(1e6))}
    assert told(after(host(0.5, net_rx=46e6, net_tx=46e6), usages)) == [("itself", "")]


def test_a_single_packet_sent_again_is_no_harm() -> None:
    usages = {API: usage(cpu=0.1, net=network(2000), retransmits=0.5), BATCH: usage(cpu=0.1, net=network(90e6))}
    assert told(after(host(0.5), usages)) == []


# tasks


def bomb(limit: int, pids_limit: int | None = None) -> Callable[[float], Moment]:
    """A fork bomb that makes 200 tasks a second, until the host's limit or its own."""

    def moment(at_s: float) -> Moment:
        made = int(min(100 + 200 * at_s, pids_limit or limit - 300))
        about = host(2.0, tasks=300 + made, tasks_limit=limit, forks=200.0)
        limits = {"pids_limit": pids_limit} if pids_limit is not None else {}
        return about, {API: usage(cpu=0.1, pids=10), BATCH: usage(cpu=1.0, pids=made, **limits)}

    return moment


def test_a_fork_bomb_fills_the_hosts_table() -> None:
    attributor = last(bomb(3000))
    assert told(attributor.latest) == [("container", "batch")]
    evidence = first_evidence(attributor)
    assert evidence.resource is Resource.TASKS
    figures = {figure.id: figure.value for figure in evidence.figures}
    assert (figures["host_tasks"], figures["host_limit_tasks"], figures["suspect_tasks"]) == (2400, 3000, 2100)
    assert figures["suspect_growth_tasks_per_s"] == pytest.approx(200.0)
    assert evidence.gain is not None
    assert (evidence.gain.limit, evidence.gain.value) == (LimitName.PIDS, 2100)
    assert attributor.latest.by_victim.get(BATCH, ()) == ()


def test_a_full_table_to_which_nobody_adds_is_held_by_who_has_most() -> None:
    assert told(last(bomb(3000), 60.0).latest) == [("container", "batch")]


def test_far_from_the_hosts_limit_nobody_is_harmed() -> None:
    assert told(last(bomb(30_000)).latest) == []


def test_its_own_limit_of_tasks_blames_nobody() -> None:
    attributor = last(bomb(30_000, pids_limit=500))
    assert told(attributor.latest, BATCH) == [("own limit", "")]
    (evidence,) = attributor.latest.by_victim[BATCH]
    assert [(figure.id, figure.value) for figure in evidence.figures] == [
        ("victim_tasks", 500.0),
        ("limit_tasks", 500.0),
    ]
    assert told(attributor.latest) == []


def test_two_harms_at_once_are_both_told() -> None:
    waits = usage(cpu=0.2, waiting=0.4, **disk(1 * MIB, 20))
    both = waits._replace(pressure={**waits.pressure, "io": stalls(io=0.5)["io"]})
    usages = {API: both, BATCH: usage(cpu=1.8), ref("copy"): usage(cpu=0.1, **disk(200 * MIB, 200))}
    attribution = after(host(2.0, disks=BUSY), usages)
    assert {(each.resource, each.suspect.ref) for each in attribution.by_victim[API]} == {
        (Resource.CPU, BATCH),
        (Resource.IO, ref("copy")),
    }
