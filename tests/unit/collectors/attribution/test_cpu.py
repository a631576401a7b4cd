"""Who holds the CPUs for which a victim waits: each kind of cause, and each that is none."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from collectors.attribution.evidence import Confidence, Resource
from collectors.sampling.frame import HostProgram, HostUsage, Pressure, Usage
from runtime.model import ContainerRef, GroupKind, GroupRef, LimitName, Missing
from tests.unit.collectors.attribution.scenes import API, BATCH, OTHER, after, host, ref, told, usage

ALL = frozenset({0, 1})
WAITS = usage(cpu=0.2, waiting=0.6)


def program(cpu: float, name: str = "make", unit: str = "", cpus: frozenset[int] = ALL) -> HostProgram:
    return HostProgram(pid=7, name=name, unit=unit, cpu=cpu, cpus=cpus)


TABLE: Mapping[str, tuple[HostUsage, Mapping[ContainerRef, Usage], list[tuple[str, str]]]] = {
    "a hog": (host(2.0), {API: WAITS, BATCH: usage(cpu=1.8)}, [("container", "batch")]),
    "a hog and a bystander": (
        host(2.0),
        {API: WAITS, BATCH: usage(cpu=1.6), OTHER: usage(cpu=0.2)},
        [("container", "batch")],
    ),
    "two hogs": (
        host(2.0),
        {API: WAITS, BATCH: usage(cpu=1.0), OTHER: usage(cpu=0.8)},
        [("container", "batch"), ("container", "other")],
    ),
    "a hog in the idle class": (host(2.0), {API: WAITS, BATCH: usage(cpu=1.8, cpu_idle=True)}, []),
    "a culprit beside a hog in the idle class": (
        host(2.0),
        {API: WAITS, BATCH: usage(cpu=1.0, cpu_idle=True), OTHER: usage(cpu=0.8)},
        [("container", "other")],
    ),
    "both in the idle class": (
        host(2.0),
        {API: WAITS._replace(cpu_idle=True), BATCH: usage(cpu=1.8, cpu_idle=True)},
        [("container", "batch")],
    ),
    "a hog on other CPUs": (
        host(2.0),
        {
            API: WAITS._replace(cpus=frozenset({0})),
            BATCH: usage(cpu=1.0, cpus=frozenset({1})),
            OTHER: usage(cpu=0.8, cpus=frozenset({0})),
        },
        [("container", "other")],
    ),
    "a hog with hardly any weight": (
        host(2.0),
        {API: WAITS, BATCH: usage(cpu=0.9, cpu_weight=2), OTHER: usage(cpu=0.9, cpu_weight=100)},
        [("container", "other")],
    ),
    "a program of the host": (
        host(2.0, programs=(program(1.7),)),
        {API: WAITS, BATCH: usage(cpu=0.1)},
        [("process", "make")],
    ),
    "a unit of the host": (
        host(2.0, programs=(program(0.9, "cc1", "build.service"), program(0.8, "ld", "build.service"))),
        {API: WAITS},
        [("unit", "build.service")],
    ),
    "load outside containers without a name": (host(2.0), {API: WAITS, BATCH: usage(cpu=0.1)}, [("diffuse", "")]),
    "ten that use a tenth each": (
        host(2.0),
        {API: WAITS, **{ref(f"c{number}"): usage(cpu=0.18) for number in range(10)}},
        [("diffuse", "")],
    ),
    "its own quota": (
        host(2.0),
        {
            API: usage(
                cpu=0.5,
                throttled=0.5,
                waiting=0.25,
                cpu_limit=0.5,
                throttled_share=1.0,
                pressure={"cpu": Pressure(0.5, 0.5)},
            ),
            BATCH: usage(cpu=1.5),
        },
        [("own quota", "")],
    ),
    "its own quota, with more tasks than CPUs": (
        host(1.0),
        {
            API: usage(
                cpu=1.0,
                throttled=1.0,
                waiting=0.0,
                cpu_limit=1.0,
                throttled_share=1.0,
                pids=8,
                pressure={"cpu": Pressure(1.0, 0.5)},
            )
        },
        [("own quota", "")],
    ),
    "its own tasks": (
        host(2.0),
        {API: usage(cpu=1.95, waiting=0.0, pids=8, pressure={"cpu": Pressure(0.95, 0.01)})},
        [("itself", "")],
    ),
    "its own tasks on the one CPU that it may use": (
        host(2.0),
        {
            API: usage(cpu=0.98, pids=8, cpus=frozenset({0}), pressure={"cpu": Pressure(0.95, 0.0)}),
            BATCH: usage(cpu=1.0, cpus=frozenset({1})),
        },
        [("itself", "")],
    ),
    "the hypervisor": (host(1.0, steal=1.0), {API: usage(cpu=0.9)}, [("hypervisor", "")]),
    "nobody waits": (host(2.0), {API: usage(cpu=0.2), BATCH: usage(cpu=1.8)}, []),
    "a wait while nobody else runs": (host(0.2), {API: WAITS}, []),
    "no PSI": (host(2.0), {API: usage(cpu=0.2, waiting=Missing.UNSUPPORTED), BATCH: usage(cpu=1.8)}, []),
}


@pytest.mark.parametrize(("about", "usages", "expected"), TABLE.values(), ids=TABLE)
@pytest.mark.parametrize("interval_s", [0.5, 1.0])
def test_who_is_named(
    about: HostUsage,
    usages: Mapping[ContainerRef, Usage],
    expected: list[tuple[str, str]],
    interval_s: float,
) -> None:
    assert told(after(about, usages, interval_s=interval_s)) == expected


def test_what_evidence_says() -> None:
    """As in the issue: the score, the share, the figures, and what a cap would give."""
    evidence = after(
        host(1.8), {API: usage(cpu=0.2, waiting=0.79), BATCH: usage(cpu=1.0), OTHER: usage(cpu=0.6)}
    ).strongest(API)
    assert evidence is not None
    assert evidence.resource is Resource.CPU
    assert evidence.suspect.ref == BATCH
    assert evidence.confidence is Confidence.STRONG
    assert evidence.wait == pytest.approx(0.79)
    assert evidence.share == pytest.approx(1.0 / 1.6)
    assert evidence.score == pytest.approx(evidence.wait * evidence.share)
    assert {figure.id: figure.value for figure in evidence.figures} == pytest.approx(
        {"victim_cores": 0.2, "suspect_cores": 1.0}
    )
    assert evidence.gain is not None
    assert evidence.gain.limit is LimitName.CPUS
    assert evidence.gain.value == pytest.approx(0.25)
    assert evidence.gain.gain == pytest.approx(0.75)


def test_the_gain_is_what_the_victim_lacks_at_most() -> None:
    evidence = after(host(2.0), {API: usage(cpu=0.1, waiting=0.5), BATCH: usage(cpu=1.9)}).strongest(API)
    assert evidence is not None
    assert evidence.gain is not None
    assert (evidence.gain.value, evidence.gain.gain) == pytest.approx((1.8, 0.1))


def test_the_gain_ends_at_the_quota_of_the_victim() -> None:
    full = {API: usage(cpu=0.5, waiting=0.5, cpu_limit=0.5), BATCH: usage(cpu=1.5)}
    evidence = after(host(2.0), full).strongest(API)
    assert evidence is not None
    assert evidence.gain is None


def test_figures_of_an_own_quota() -> None:
    throttled = usage(cpu=0.5, throttled=0.5, cpu_limit=0.5, throttled_share=0.9, pressure={"cpu": Pressure(0.5, 0.5)})
    evidence = after(host(0.5), {API: throttled}).strongest(API)
    assert evidence is not None
    assert {figure.id: figure.value for figure in evidence.figures} == pytest.approx(
        {"victim_cores": 0.5, "limit_cores": 0.5, "throttled_cores": 0.5, "throttled_share": 0.9}
    )
    assert evidence.gain is None


def test_a_group_and_its_members_count_once() -> None:
    group = GroupRef(GroupKind.COMPOSE, "shop", "embedded")
    usages = {API: WAITS, BATCH: usage(cpu=0.9), OTHER: usage(cpu=0.9), group: usage(cpu=1.8, waiting=0.5)}
    evidence = after(host(2.0), usages).by_victim  # type: ignore[arg-type]
    assert list(evidence) == [API]
    assert {each.suspect.ref: round(each.share, 3) for each in evidence[API]} == {BATCH: 0.5, OTHER: 0.5}


def test_a_container_of_another_machine_is_no_suspect() -> None:
    away = ContainerRef("embedded", "away", "far")
    assert told(after(host(2.0), {API: WAITS, BATCH: usage(cpu=1.8), away: usage(cpu=8.0)})) == [("container", "batch")]


def test_programs_count_no_more_than_the_host_uses() -> None:
    """They are found over a longer time than a frame, so that their sum may exceed what is there now."""
    about = host(2.0, programs=(program(5.0),))
    found = after(about, {API: WAITS, BATCH: usage(cpu=0.9)}).by_victim[API]
    assert {each.suspect.name or "batch": round(each.share, 3) for each in found} == {"batch": 0.5, "make": 0.5}
