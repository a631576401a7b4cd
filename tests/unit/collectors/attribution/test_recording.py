"""A recording is read back as it was."""

from __future__ import annotations

from pathlib import Path

from collectors.attribution.evidence import Resource, SuspectKind
from collectors.sampling.frame import DiskLatency, Frame, HostProgram, HostUsage, IoRates, NetRates, Pressure, Usage
from runtime.model import UNLIMITED, ContainerRef, Missing
from tests.attribution_recording import Culprit, Labels, load, save

API, OTHER = ContainerRef("embedded", "a" * 64), ContainerRef("containerd", "k8s.io/b", "far")


def test_a_recording_is_read_back_as_it_was(tmp_path: Path) -> None:
    program = HostProgram(pid=7, name="make", unit="", cpu=1.5, cpus=frozenset({0, 1}), idle_class=True)
    host = HostUsage(ncpu=2, cpu=1.75, disks={"8:0": DiskLatency(1.0, Missing.DENIED, 2.0, 0.5)}, programs=(program,))
    api = Usage(
        at_ns=9,
        cpu=0.5,
        cpu_limit=UNLIMITED,
        throttled=Missing.GONE,
        cpus=frozenset({1, 0}),
        cpu_idle=False,
        pressure={"cpu": Pressure(0.5, 0.25), "io": Pressure()},
        io=IoRates(1.0, Missing.UNSUPPORTED, 2.0, 3.0),
        io_devices={"8:0": IoRates(1.0, 1.0, 2.0, 3.0)},
        net=NetRates(1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
        extra={"some": 1.0, "other": Missing.DENIED},
    )
    frames = [Frame(1, 10, 11, 12, 13, host, usages={API: api, OTHER: Usage(at_ns=8)})]
    culprit = Culprit("api", "make", Resource.CPU, SuspectKind.PROCESS, 1.0, 2.5)
    labels = Labels("host load", {"embedded/" + "a" * 64: "api"}, (culprit,), seed=3, more={"engine": "embedded"})
    save(frames, labels, tmp_path / "file.json")
    assert load(tmp_path / "file.json") == (frames, labels)
