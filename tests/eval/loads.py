"""Actors of which the scenarios are made: services that can be hurt, and loads beside them."""

from __future__ import annotations

from random import Random

from runtime.model import LimitChange
from tests.eval.scenario import Actor, Cast, Cpus


def service(rng: Random, *, cores: float = 0.6, cpus: Cpus = Cpus.SHARED) -> Actor:
    """A service that needs about so many cores when nobody disturbs it."""
    rate = rng.uniform(40, 60)
    work_ms = cores * 1000 / rate
    arguments = ("cpu", "--rate", f"{rate:.0f}", "--work-ms", f"{work_ms:.2f}")
    return Actor(name="victim", program="service", arguments=arguments, cpus=cpus, at_s=None)


def hog(name: str = "hog", *arguments: str, cpus: Cpus = Cpus.SHARED, limits: LimitChange | None = None) -> Actor:
    return Actor(name=name, program="spin", arguments=arguments, cpus=cpus, limits=limits or LimitChange())


def quiet(rng: Random, name: str = "quiet", cpus: Cpus = Cpus.SHARED) -> Actor:
    """A neighbour that does little: 2 to 5 % of a core in short pieces, from the start."""
    duty = ("--duty", f"{rng.uniform(0.02, 0.05):.3f}", "--period", "0.1")
    return Actor(name=name, program="spin", arguments=duty, cpus=cpus, at_s=None)


def file_service(rng: Random, size_mb: int) -> Actor:
    rate = rng.uniform(35, 50)
    arguments = ("file", "--rate", f"{rate:.0f}", "--work-ms", "2", "--path", "/data/victim", "--size-mb", str(size_mb))
    return Actor(name="victim", program="service", arguments=arguments, cpus=Cpus.SHARED, at_s=None, data=True)


def disk_service(rng: Random) -> Actor:
    rate = f"{rng.uniform(70, 90):.0f}"
    arguments = ("disk", "--rate", rate, "--work-ms", "1", "--path", "/data/victim", "--size-mb", "64")
    return Actor(name="victim", program="service", arguments=arguments, cpus=Cpus.SHARED, at_s=None, data=True)


def disk_user(*arguments: str, name: str = "hog", limits: LimitChange | None = None) -> Actor:
    own = ("--path", f"/data/{name}", *arguments)
    return Actor(
        name=name, program="storage", arguments=own, cpus=Cpus.OTHER, limits=limits or LimitChange(), data=True
    )


def net_service(rng: Random) -> Actor:
    rate = f"{rng.uniform(60, 80):.0f}"
    arguments = ("net", "--rate", rate, "--work-ms", "1")
    return Actor(name="victim", program="service", arguments=arguments, cpus=Cpus.SHARED, at_s=None, uplink=True)


def flood(*arguments: str, name: str = "hog") -> Actor:
    return Actor(name=name, program="flood", arguments=arguments, cpus=Cpus.OTHER, uplink=True)


def forking_service(rng: Random) -> Actor:
    rate = rng.uniform(30, 40)
    arguments = ("fork", "--rate", f"{rate:.0f}", "--work-ms", f"{500 / rate:.2f}")
    return Actor(name="victim", program="service", arguments=arguments, cpus=Cpus.SHARED, at_s=None)


def throttled(rng: Random, low: float, high: float) -> Actor:
    """A service that needs twice what its quota gives."""
    quota = round(rng.uniform(low, high), 2)
    made = service(rng, cores=2 * quota)
    return Actor(
        name=made.name, program=made.program, arguments=made.arguments, limits=LimitChange(cpus=quota), at_s=None
    )


def diffuse(rng: Random, number: int, cores: float) -> Cast:
    """Small loads of the same size, that together want `cores`."""
    duty, period = f"{cores / number:.3f}", f"{rng.uniform(0.05, 0.1):.3f}"
    many = tuple(hog(f"small{each}", "--duty", duty, "--period", period) for each in range(number))
    return Cast(actors=(service(rng, cores=0.5), *many))
