"""The scenarios on which thresholds are fixed, of attribution and of the detectors beside it. None is judged."""

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
    hog,
    net_service,
    quiet,
    service,
    throttled,
)
from tests.eval.scenario import Actor, Cast, Cpus, Outside, Scenario

VICTIM_HOG: Final = frozenset({("victim", "hog")})
SEED: Final = 7


def _pulsing(rng: Random) -> Cast:
    period = rng.uniform(3, 4)
    return Cast(actors=(service(rng, cores=0.5), quiet(rng), hog("hog", "--duty", "0.5", "--period", f"{period:.1f}")))


def _light_hog(rng: Random) -> Cast:
    return Cast(actors=(service(rng, cores=0.8), quiet(rng), hog(limits=LimitChange(cpu_shares=512))))


def _half_capped(rng: Random) -> Cast:
    return Cast(actors=(service(rng, cores=0.7), quiet(rng), hog(limits=LimitChange(cpus=0.5))))


def _idle_pair(rng: Random) -> Cast:
    idle = LimitChange(cpu_idle=True)
    return Cast(actors=(service(rng, cores=0.7), quiet(rng), hog("hog", limits=idle), hog("second", limits=idle)))


def _quota_alone(rng: Random) -> Cast:
    return Cast(actors=(throttled(rng, 0.1, 0.2), quiet(rng), hog(cpus=Cpus.OTHER)))


def _outside_pulsing(rng: Random) -> Cast:
    outside = Outside(program="spin", arguments=("--duty", "0.7", "--period", "0.5"))
    return Cast(actors=(service(rng, cores=0.5), quiet(rng)), outside=(outside,))


def _disk_buffered(rng: Random) -> Cast:
    reader = disk_user("--direct", "--block-kb", "64", "--size-mb", "64", "--threads", str(rng.randint(12, 16)))
    return Cast(actors=(disk_service(rng), quiet(rng), reader))


def _disk_paced(rng: Random) -> Cast:
    paced = disk_user("--direct", "--block-kb", "64", "--size-mb", "64", "--rate-mb", f"{rng.uniform(1, 3):.1f}")
    return Cast(actors=(disk_service(rng), quiet(rng), paced))


def _uplink_one_stream(rng: Random) -> Cast:
    return Cast(actors=(net_service(rng), quiet(rng), flood("--streams", "1")), uplink_mbit=rng.uniform(8, 12))


def _uplink_half(rng: Random) -> Cast:
    mbit = rng.uniform(15, 25)
    return Cast(actors=(net_service(rng), quiet(rng), flood("--udp-mbit", f"{0.3 * mbit:.0f}")), uplink_mbit=mbit)


def _memory_slowly(rng: Random) -> Cast:
    arguments = ("--size-mb", "300", "--rate-mb", "60")
    holder = Actor(name="hog", program="hold", arguments=arguments, cpus=Cpus.OTHER)
    return Cast(actors=(file_service(rng, 80), quiet(rng), holder), memory_mb=390)


def _memory_enough(rng: Random) -> Cast:
    holder = Actor(name="hog", program="hold", arguments=("--size-mb", "200"), cpus=Cpus.OTHER)
    return Cast(actors=(file_service(rng, 80), quiet(rng), holder), memory_mb=600)


SCENARIOS: Final = (
    Scenario(
        name="cpu-pulsing",
        says="a hog on and off for 2 s",
        cast=_pulsing,
        resource=Resource.CPU,
        culprits=VICTIM_HOG,
    ),
    Scenario(
        name="cpu-light-hog",
        says="a hog of half the weight",
        cast=_light_hog,
        resource=Resource.CPU,
        culprits=VICTIM_HOG,
    ),
    Scenario(
        name="cpu-capped-hog",
        says="a hog with half a core",
        cast=_half_capped,
        resource=Resource.CPU,
        culprits=VICTIM_HOG,
    ),
    Scenario(
        name="memory-slowly",
        says="memory that grows slowly under a common limit",
        cast=_memory_slowly,
        resource=Resource.MEMORY,
        culprits=VICTIM_HOG,
    ),
    Scenario(name="memory-enough", says="memory that grows, with enough for both", cast=_memory_enough),
    Scenario(
        name="io-small-reads",
        says="small reads of many threads",
        cast=_disk_buffered,
        resource=Resource.IO,
        culprits=VICTIM_HOG,
    ),
    Scenario(name="io-paced", says="a reader of 1 to 3 MB/s", cast=_disk_paced),
    Scenario(
        name="net-one-stream",
        says="one TCP stream on a narrow uplink",
        cast=_uplink_one_stream,
        resource=Resource.NETWORK,
        culprits=VICTIM_HOG,
    ),
    Scenario(name="net-half", says="datagrams at a third of the uplink's rate", cast=_uplink_half),
    Scenario(name="idle-pair", says="two hogs in the idle class", cast=_idle_pair),
    Scenario(
        name="quota-small",
        says="a quota of a tenth to a fifth of a core",
        cast=_quota_alone,
        told=frozenset({SuspectKind.OWN_QUOTA}),
    ),
    Scenario(
        name="outside-pulsing",
        says="a program of the host, on for 0.35 s of 0.5 s",
        cast=_outside_pulsing,
        told=frozenset({SuspectKind.PROCESS, SuspectKind.UNIT}),
    ),
    Scenario(
        name="diffuse-six",
        says="six small loads of the same size",
        cast=lambda rng: diffuse(rng, 6, rng.uniform(0.5, 0.7)),
        told=frozenset({SuspectKind.DIFFUSE}),
    ),
)
