"""The scenarios that are judged. Their loads differ in kind from those of `tuning`, on which thresholds are fixed."""

from __future__ import annotations

from random import Random
from typing import Final

from collectors.attribution.evidence import Resource, SuspectKind
from runtime.model import LimitChange
from tests.eval.loads import (
    diffuse,
    disk_service,
    disk_user,
    file_service,
    flood,
    forking_service,
    hog,
    net_service,
    quiet,
    service,
    throttled,
)
from tests.eval.scenario import Actor, Cast, Cpus, Outside, Scenario

VICTIM_HOG: Final = frozenset({("victim", "hog")})
SEED: Final = 20261128


def _one_hog(rng: Random) -> Cast:
    processes = str(rng.choice((1, 2)))
    return Cast(actors=(service(rng), quiet(rng), hog("hog", "--processes", processes)))


def _heavy_hog(rng: Random) -> Cast:
    heavy = LimitChange(cpu_shares=rng.choice((2048, 4096, 8192)))
    return Cast(actors=(service(rng, cores=0.5), quiet(rng), hog(limits=heavy)))


def _many_threads(rng: Random) -> Cast:
    threads = str(rng.randint(12, 24))
    return Cast(actors=(service(rng, cpus=Cpus.ANY), quiet(rng), hog("hog", "--threads", threads, cpus=Cpus.ANY)))


def _two_hogs(rng: Random) -> Cast:
    return Cast(actors=(service(rng), quiet(rng), hog("hog"), hog("second", "--processes", "2")))


def _one_culprit(rng: Random) -> Cast:
    beside = hog("other", "--processes", "2", cpus=Cpus.OTHER)
    return Cast(actors=(service(rng), quiet(rng), hog(), beside))


def _memory_held(rng: Random) -> Cast:
    size = rng.randint(320, 330)
    holder = Actor(name="hog", program="hold", arguments=("--size-mb", str(size)), cpus=Cpus.OTHER)
    return Cast(actors=(file_service(rng, 100), quiet(rng), holder), memory_mb=420)


def _memory_streamed(rng: Random) -> Cast:
    arguments = ("--path", "/data/load", "--size-mb", "384", "--threads", str(rng.choice((2, 3))))
    reader = Actor(name="hog", program="storage", arguments=arguments, cpus=Cpus.OTHER, data=True)
    return Cast(actors=(file_service(rng, 100), quiet(rng), reader), memory_mb=220)


def _disk_reader(rng: Random) -> Cast:
    reader = disk_user("--direct", "--size-mb", "192", "--threads", str(rng.randint(6, 10)))
    return Cast(actors=(disk_service(rng), quiet(rng), reader))


def _disk_writer(rng: Random) -> Cast:
    heavy = LimitChange(io_weight=rng.choice((300, 500)))
    threads = str(rng.randint(4, 8))
    return Cast(
        actors=(
            disk_service(rng),
            quiet(rng),
            disk_user("--direct", "--write", "--size-mb", "128", "--threads", threads, limits=heavy),
        )
    )


def _uplink_streams(rng: Random) -> Cast:
    sender = flood("--streams", str(rng.randint(4, 8)))
    return Cast(actors=(net_service(rng), quiet(rng), sender), uplink_mbit=rng.uniform(15, 25))


def _uplink_datagrams(rng: Random) -> Cast:
    mbit = rng.uniform(15, 25)
    sender = flood("--udp-mbit", f"{mbit * rng.uniform(1.5, 2.0):.0f}")
    return Cast(actors=(net_service(rng), quiet(rng), sender), uplink_mbit=mbit)


def _forks(rng: Random) -> Cast:
    forks = Actor(name="hog", program="forks", arguments=("--workers", str(rng.randint(6, 12))))
    return Cast(actors=(forking_service(rng), quiet(rng), forks))


def _own_quota(rng: Random) -> Cast:
    return Cast(actors=(throttled(rng, 0.25, 0.4), quiet(rng), hog("hog", "--processes", "2", cpus=Cpus.OTHER)))


def _own_threads(rng: Random) -> Cast:
    made = service(rng, cores=0.5)
    spinners = ("--spinners", str(rng.randint(3, 6)))
    victim = Actor(name=made.name, program=made.program, arguments=made.arguments + spinners, at_s=None)
    return Cast(actors=(victim, quiet(rng), hog("hog", "--processes", "2", cpus=Cpus.OTHER)))


def _idle_class(rng: Random) -> Cast:
    processes = str(rng.randint(1, 4))
    idle = hog("hog", "--processes", processes, limits=LimitChange(cpu_idle=True))
    return Cast(actors=(service(rng), quiet(rng), idle))


def _other_cpus(rng: Random) -> Cast:
    processes = str(rng.randint(2, 4))
    return Cast(actors=(service(rng), quiet(rng), hog("hog", "--processes", processes, cpus=Cpus.OTHER)))


def _outside(rng: Random) -> Cast:
    outside = Outside(program="spin", arguments=("--processes", str(rng.choice((1, 2)))))
    return Cast(actors=(service(rng), quiet(rng), hog(cpus=Cpus.OTHER)), outside=(outside,))


def _bursts(rng: Random) -> Cast:
    period = rng.uniform(4.5, 6)
    duty = rng.uniform(0.2, 0.35) / period
    return Cast(
        actors=(service(rng, cores=0.5), quiet(rng), hog("hog", "--duty", f"{duty:.3f}", "--period", f"{period:.2f}"))
    )


def _page_cache_writer(rng: Random) -> Cast:
    rate = ("--rate-mb", f"{rng.uniform(40, 80):.0f}")
    writer = ("--write", "--cached", "--size-mb", "48", *rate)
    return Cast(actors=(service(rng), quiet(rng), disk_user(*writer, limits=LimitChange(memory=96 << 20))))


def _stops(rng: Random) -> Cast:
    return Cast(actors=(service(rng), quiet(rng), hog("hog", "--seconds", f"{rng.uniform(2.5, 3.5):.1f}")))


SCENARIOS: Final = (
    Scenario(
        name="cpu-hog",
        says="one CPU hog on the victim's core",
        cast=_one_hog,
        resource=Resource.CPU,
        culprits=VICTIM_HOG,
    ),
    Scenario(
        name="cpu-heavy-hog",
        says="a hog of two to eight times the weight",
        cast=_heavy_hog,
        resource=Resource.CPU,
        culprits=VICTIM_HOG,
    ),
    Scenario(
        name="cpu-threads",
        says="a hog in 12 to 24 threads on all cores",
        cast=_many_threads,
        resource=Resource.CPU,
        culprits=VICTIM_HOG,
    ),
    Scenario(
        name="cpu-two-hogs",
        says="two hogs on the victim's core",
        cast=_two_hogs,
        resource=Resource.CPU,
        culprits=VICTIM_HOG | {("victim", "second")},
    ),
    Scenario(
        name="cpu-one-culprit",
        says="two hogs, only one on the victim's core",
        cast=_one_culprit,
        resource=Resource.CPU,
        culprits=VICTIM_HOG,
    ),
    Scenario(
        name="memory-held",
        says="memory held under a common limit: the victim reads its files again",
        cast=_memory_held,
        resource=Resource.MEMORY,
        culprits=VICTIM_HOG,
    ),
    Scenario(
        name="memory-streamed",
        says="a large file read over and over under a common limit",
        cast=_memory_streamed,
        resource=Resource.MEMORY,
        culprits=VICTIM_HOG,
    ),
    Scenario(
        name="io-reader",
        says="large reads of many threads on the victim's disk",
        cast=_disk_reader,
        resource=Resource.IO,
        culprits=VICTIM_HOG,
    ),
    Scenario(
        name="io-heavy-writer",
        says="large writes with three to five times the weight",
        cast=_disk_writer,
        resource=Resource.IO,
        culprits=VICTIM_HOG,
    ),
    Scenario(
        name="net-streams",
        says="TCP streams that fill the shared uplink",
        cast=_uplink_streams,
        resource=Resource.NETWORK,
        culprits=VICTIM_HOG,
    ),
    Scenario(
        name="net-datagrams",
        says="datagrams at 1.5 to 2 times the rate of the shared uplink",
        cast=_uplink_datagrams,
        resource=Resource.NETWORK,
        culprits=VICTIM_HOG,
    ),
    Scenario(
        name="tasks-forks",
        says="a neighbour that forks all the time; the victim forks for each request",
        cast=_forks,
        resource=Resource.TASKS,
        culprits=VICTIM_HOG,
    ),
    Scenario(
        name="own-quota",
        says="the victim at its own quota, a hog on another core",
        cast=_own_quota,
        told=frozenset({SuspectKind.OWN_QUOTA}),
    ),
    Scenario(
        name="own-threads",
        says="the victim contends with itself, a hog on another core",
        cast=_own_threads,
        told=frozenset({SuspectKind.ITSELF}),
    ),
    Scenario(name="idle-class", says="a hog in the idle class on the victim's core", cast=_idle_class),
    Scenario(name="other-cpus", says="a hog on other CPUs", cast=_other_cpus),
    Scenario(
        name="outside",
        says="load outside containers on the victim's core, a hog on another",
        cast=_outside,
        told=frozenset({SuspectKind.PROCESS, SuspectKind.UNIT}),
    ),
    Scenario(
        name="diffuse-ten",
        says="ten small loads of the same size",
        cast=lambda rng: diffuse(rng, 10, rng.uniform(0.8, 1.0)),
        told=frozenset({SuspectKind.DIFFUSE}),
    ),
    Scenario(name="bursts", says="bursts of 0.2 to 0.35 s every 5 s", cast=_bursts),
    Scenario(name="page-cache-writer", says="a writer that fills the page cache", cast=_page_cache_writer),
    Scenario(
        name="hog-stops",
        says="a hog that stops by itself: nobody is blamed once it is out of the window",
        cast=_stops,
        judged_from_s=12.0,
        noise_s=16.0,
    ),
)
