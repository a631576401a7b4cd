"""A run as a recorded scenario (`tests.attribution_recording`), which replays attribution without root."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from random import Random
from typing import Final

from collectors.attribution.evidence import Resource, SuspectKind
from collectors.sampling.frame import Frame, HostUsage
from runtime.model import ContainerRef, Missing
from tests.attribution_recording import Culprit, Labels, key, load, ref_of, save
from tests.eval import tuning
from tests.eval.observation import Observation
from tests.eval.scenario import Cast, Scenario

NS_PER_S: Final = 1_000_000_000
UNUSED: Final = ("extra", "memory_peak", "shared", "cpu_user", "cpu_system", "net_internal")
"""Fields of a usage that no attribution reads."""
TUNING: Final = frozenset(scenario.name for scenario in tuning.SCENARIOS)


def write(seen: Observation, directory: Path, seed: int) -> Path:
    """Write the frames of a run with their labels; the file's path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{seen.scenario.name}.json"
    save([_reduced(frame, seen) for frame in seen.frames], _labels(seen, seed), path)
    return path


def read(path: Path) -> Observation:
    """A recorded run, to be judged again; it has no reports."""
    frames, labels = load(path)
    start_ns = frames[0].at_ns
    more = labels.more
    scenario = Scenario(
        name=labels.scenario,
        says=labels.notes,
        cast=_no_cast,
        culprits=frozenset((each.victim, each.suspect) for each in labels.culprits),
        victims=tuple(more["victims"]),
        told=frozenset(map(SuspectKind, more["told"])),
        judged_from_s=more["judged_from_s"] - more["harm_s"],
    )
    return Observation(
        scenario,
        0,
        {ref_of(name): said for name, said in labels.names.items()},
        more["outside"],
        start_ns,
        start_ns + round(more["harm_s"] * NS_PER_S),
        start_ns + round(more["judged_to_s"] * NS_PER_S),
        frames,
    )


def _no_cast(rng: Random) -> Cast:
    return Cast(actors=())


def _labels(seen: Observation, seed: int) -> Labels:
    scenario, first = seen.scenario, seen.frames[0].at_ns
    start, end = (seen.harm_ns - first) / 1e9, (seen.end_ns - first) / 1e9
    resource = scenario.resource or Resource.CPU
    return Labels(
        scenario=scenario.name,
        names={key(_named(name)): name for name in seen.names.values()},
        culprits=tuple(
            Culprit(victim, suspect, resource, start_s=round(start, 2), end_s=round(end, 2))
            for victim, suspect in sorted(scenario.culprits)
        ),
        seed=seed,
        split="calibration" if scenario.name in TUNING else "judgement",
        notes=scenario.says,
        more={
            "victims": list(scenario.victims),
            "told": sorted(scenario.told),
            "outside": seen.outside,
            "harm_s": round(start, 2),
            "judged_from_s": round(start + scenario.judged_from_s, 2),
            "judged_to_s": round(end, 2),
        },
    )


def _named(name: str) -> ContainerRef:
    """A short ref in place of the container's own."""
    return ContainerRef("embedded", name)


def _reduced(frame: Frame, seen: Observation) -> Frame:
    """Without what no attribution reads, and with times from the first frame on."""
    first_ns = seen.frames[0].at_ns - NS_PER_S  # the first is at 1 s, as 0 is no time of a frame
    usages = {
        _named(seen.names[ref]): usage._replace(
            **{name: usage._field_defaults[name] for name in UNUSED}, at_ns=usage.at_ns - first_ns
        )
        for ref, usage in frame.usages.items()
        if isinstance(ref, ContainerRef) and ref in seen.names
    }
    return dataclasses.replace(
        frame, at_ns=frame.at_ns - first_ns, wall_ns=0, cost_ns=0, host=_host(frame.host), usages=usages
    )


def _host(host: HostUsage) -> HostUsage:
    """Without disks at rest."""
    busy = {number: disk for number, disk in host.disks.items() if not isinstance(disk.busy, Missing) and disk.busy > 0}
    return dataclasses.replace(host, disks=busy, problems={})
