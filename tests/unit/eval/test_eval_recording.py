"""A run that is recorded and read again has the same frames for attribution, under short names."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from collectors.attribution.evidence import Resource, SuspectKind
from collectors.sampling.frame import DiskLatency, Frame, HostUsage, Pressure, Usage
from runtime.model import ContainerRef
from tests.attribution_recording import load
from tests.eval import recording
from tests.eval.judging import AttributionDetector, judged
from tests.eval.observation import Observation
from tests.eval.scenario import Cast, Scenario

SECOND = 1_000_000_000
VICTIM, HOG = ContainerRef("embedded", "a" * 64), ContainerRef("embedded", "b" * 64)


def test_a_recording_has_labels_times_and_names(tmp_path: Path) -> None:
    scenario = Scenario(
        name="one",
        says="a hog",
        cast=lambda rng: Cast(actors=()),
        resource=Resource.IO,
        culprits=frozenset({("victim", "hog")}),
        judged_from_s=1.0,
    )
    disks = {"8:0": DiskLatency(1.0, 1.0, 1.0, 0.5), "8:1": DiskLatency(busy=0.0)}
    frames = [
        Frame(
            number,
            (1000 + number) * SECOND,
            5,
            SECOND,
            7,
            HostUsage(ncpu=2, cpu=1.23456789, disks=disks),
            usages={ref: Usage((1000 + number) * SECOND, cpu=0.5, memory_peak=9) for ref in (VICTIM, HOG)},
        )
        for number in range(4)
    ]
    names = {VICTIM: "victim", HOG: "hog"}
    seen = Observation(scenario, 0, names, False, 0, 1001 * SECOND, 1003 * SECOND, frames)
    path = recording.write(seen, tmp_path / "records", 42)
    read, labels = load(path)
    assert [frame.at_ns for frame in read] == [1 * SECOND, 2 * SECOND, 3 * SECOND, 4 * SECOND]
    assert labels.names == {"embedded/victim": "victim", "embedded/hog": "hog"}
    (culprit,) = labels.culprits
    assert (culprit.victim, culprit.suspect, culprit.resource) == ("victim", "hog", Resource.IO)
    assert (culprit.start_s, culprit.end_s) == (1.0, 3.0)
    assert (labels.split, labels.seed, labels.more["judged_from_s"]) == ("judgement", 42, 2.0)
    usage = read[0].usages[ContainerRef("embedded", "victim")]
    assert usage == Usage(1 * SECOND, cpu=0.5)
    assert read[0].host == dataclasses.replace(frames[0].host, cpu=1.23457, disks={"8:0": disks["8:0"]})


def test_a_recording_is_judged_as_the_run_was(tmp_path: Path) -> None:
    scenario = Scenario(
        name="one",
        says="",
        cast=lambda rng: Cast(actors=()),
        culprits=frozenset({("victim", "hog")}),
        told=frozenset({SuspectKind.ITSELF}),
        judged_from_s=2.0,
    )
    frames = [
        Frame(
            number,
            (1000 + number) * SECOND,
            0,
            SECOND,
            0,
            HostUsage(ncpu=2, cpu=1.9),
            usages={VICTIM: _usage(0.4, waiting=0.8), HOG: _usage(1.0, waiting=0.0)},
        )
        for number in range(12)
    ]
    seen = Observation(scenario, 0, {VICTIM: "victim", HOG: "hog"}, True, 0, 1002 * SECOND, 1010 * SECOND, frames)
    again = recording.read(recording.write(seen, tmp_path, 1))
    assert again.scenario.judged_from_s == 2.0
    assert (again.outside, again.scenario.told) == (True, frozenset({SuspectKind.ITSELF}))
    first, second = (judged(each, AttributionDetector(each.names)) for each in (seen, again))
    assert any(pair.named for pair in first)
    assert second == first


def _usage(cpu: float, *, waiting: float) -> Usage:
    pressure = {"cpu": Pressure(waiting, waiting), "memory": Pressure(0.0, 0.0), "io": Pressure(0.0, 0.0)}
    return Usage(
        0,
        cpu=cpu,
        throttled=0.0,
        pressure=pressure,
        waiting=waiting,
        cpus=frozenset({1}),
        cpu_weight=100,
        cpu_idle=False,
    )
