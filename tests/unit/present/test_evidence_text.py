"""Each kind of suspect on each resource has its own true sentence."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.attribution.evidence import Confidence, Evidence, Figure, Gain, Resource, Suspect, SuspectKind
from runtime.model import ContainerRef, DeviceRate, LimitName, Ref
from tui.present.evidence_text import sentence, suspect_name

API, BATCH = ContainerRef("embedded", "1"), ContainerRef("embedded", "2")
BY_BATCH = Suspect(SuspectKind.CONTAINER, BATCH)
MIB = 1 << 20


def names(ref: Ref) -> str:
    return {API: "api", BATCH: "batch"}[ref]  # type: ignore[index]


def evidence(resource: Resource, suspect: Suspect | SuspectKind, wait: float, share: float, **more: Any) -> Evidence:
    by = Suspect(suspect) if isinstance(suspect, SuspectKind) else suspect
    sure = more.pop("confidence", Confidence.STRONG)
    figures = tuple(Figure(*each) for each in more.pop("figures", {}).items())
    return Evidence(
        API, by, resource, wait * share, wait=wait, share=share, confidence=sure, since_ns=1, figures=figures, **more
    )


CPU, MEMORY, IO, NETWORK, TASKS = Resource
CAP = Gain(LimitName.CPUS, 0.4, 0.6)
WAITS_FOR_CPU = "api waits 79% of the time for CPU; batch holds 63% of what it waits for"

SENTENCES = {
    "capping": (
        evidence(CPU, BY_BATCH, 0.79, 0.63, gain=CAP),
        f"{WAITS_FOR_CPU}; capping batch at 0.4 would give it about 0.6 cores",
    ),
    "no gain": (evidence(CPU, BY_BATCH, 0.79, 0.63), WAITS_FOR_CPU),
    "confirmed": (
        evidence(CPU, BY_BATCH, 0.79, 0.63, gain=CAP, confidence=Confidence.CONFIRMED),
        f"{WAITS_FOR_CPU}; a probe has confirmed it; capping batch at 0.4 would give it about 0.6 cores",
    ),
    "cleared": (
        evidence(CPU, BY_BATCH, 0.79, 0.63, gain=CAP, confidence=Confidence.CLEARED),
        f"{WAITS_FOR_CPU}; but a probe has cleared batch",
    ),
    "unit": (
        evidence(CPU, Suspect(SuspectKind.UNIT, name="build.service"), 0.5, 1.0),
        "api waits 50% of the time for CPU; build.service holds 100% of what it waits for",
    ),
    "process": (
        evidence(CPU, Suspect(SuspectKind.PROCESS, name="ma\nke", pid=7), 0.5, 1.0),
        "api waits 50% of the time for CPU; ma\N{REPLACEMENT CHARACTER}ke (pid 7) holds 100% of what it waits for",
    ),
    "own quota": (
        evidence(CPU, SuspectKind.OWN_QUOTA, 0.6, 0.9, figures={"limit_cores": 0.5}),
        "api stands still 54% of the time by its own CPU limit of 0.5 cores: nobody else is the cause",
    ),
    "own quota, unknown": (
        evidence(CPU, SuspectKind.OWN_QUOTA, 0.5, 1.0),
        "api stands still 50% of the time by its own CPU limit: nobody else is the cause",
    ),
    "own threads": (
        evidence(CPU, SuspectKind.ITSELF, 0.9, 1.0, figures={"allowed_cores": 2.0}),
        "api waits 90% of the time for CPU; its own tasks wait for each other, as they fill the 2 CPUs that it may use",
    ),
    "many": (
        evidence(CPU, SuspectKind.DIFFUSE, 0.5, 0.8),
        "api waits 50% of the time for CPU; many small ones hold 80% of that together, nobody in particular",
    ),
    "hypervisor": (
        evidence(CPU, SuspectKind.HYPERVISOR, 0.5, 1.0, figures={"steal_cores": 1.0}),
        "api loses 50% of the time to other machines on the same hardware (1.00 cores)",
    ),
    "invisible": (
        evidence(CPU, SuspectKind.INVISIBLE, 0.0, 0.0),
        "api is slow and waits for nothing that the kernel counts; memory bandwidth, a shared cache or the other "
        "thread of a core cannot be seen",
    ),
    "memory": (
        evidence(MEMORY, BY_BATCH, 0.3, 0.8, gain=Gain(LimitName.MEMORY, 100 * MIB, 50.0 * MIB)),
        "api waits 30% of the time for memory; batch takes 80% of the memory that is taken; limiting batch to 100m "
        "would leave it about 50M more",
    ),
    "own memory limit": (
        evidence(MEMORY, SuspectKind.OWN_LIMIT, 0.3, 1.0, figures={"limit_bytes": 64.0 * MIB}),
        "api waits 30% of the time for memory; at its own limit of 64M: nobody else is the cause",
    ),
    "own growth": (
        evidence(MEMORY, SuspectKind.ITSELF, 0.3, 1.0),
        "api waits 30% of the time for memory; 100% of that by its own growth",
    ),
    "disk": (
        evidence(
            IO,
            BY_BATCH,
            0.6,
            0.9,
            device="259:77",
            gain=Gain(LimitName.IO_READ_BPS, (DeviceRate("259:77", 5 * MIB),), 2.0 * MIB),
        ),
        "api waits 60% of the time for the disk 259:77; batch makes 90% of what that disk does; limiting batch to "
        "5.0M/s would give it about 2.0M/s more",
    ),
    "unknown disk": (
        evidence(IO, BY_BATCH, 0.6, 0.9),
        "api waits 60% of the time for a disk; batch makes 90% of what that disk does",
    ),
    "own disk limit": (
        evidence(IO, SuspectKind.OWN_LIMIT, 0.6, 1.0, device="259:77"),
        "api waits 60% of the time for the disk 259:77; that disk has little to do meanwhile: a limit on its own reads "
        "and writes, nobody else, is the cause",
    ),
    "own requests": (
        evidence(IO, SuspectKind.ITSELF, 0.6, 0.9, device="259:77"),
        "api waits 60% of the time for the disk 259:77; 90% of that for its own requests",
    ),
    "network": (
        evidence(NETWORK, BY_BATCH, 0.6, 0.9, gain=Gain(LimitName.NET_EGRESS, 20_000_000, 125_000.0)),
        "api loses packets on the network; batch moves 90% of what the host sends and receives; limiting batch to "
        "20mbit/s would give it about 1.0mbit/s more",
    ),
    "own network limit": (
        evidence(NETWORK, SuspectKind.OWN_LIMIT, 0.6, 1.0, figures={"backlog_bytes": 65536.0}),
        "api waits for the network at its own limit, where 64K are queued: nobody else is the cause",
    ),
    "own traffic": (
        evidence(NETWORK, SuspectKind.ITSELF, 0.6, 0.9),
        "api loses packets on the network; 90% of what the host sends and receives is its own",
    ),
    "tasks": (
        evidence(TASKS, BY_BATCH, 0.9, 0.8, gain=Gain(LimitName.PIDS, 2100, 500.0)),
        "soon api cannot start a process, as the host runs out of tasks; batch is 80% of the cause; limiting batch to "
        "its 2100 tasks would end that",
    ),
    "own limit of tasks": (
        evidence(TASKS, SuspectKind.OWN_LIMIT, 1.0, 1.0, figures={"limit_tasks": 500.0}),
        "api has as many tasks as its own limit allows (500): nobody else is the cause",
    ),
}


@pytest.mark.parametrize(("of", "expected"), SENTENCES.values(), ids=SENTENCES)
def test_a_sentence(of: Evidence, expected: str) -> None:
    assert sentence(of, names) == expected


@pytest.mark.parametrize("kind", SuspectKind)
@pytest.mark.parametrize("resource", Resource)
def test_every_kind_has_a_sentence_on_every_resource(resource: Resource, kind: SuspectKind) -> None:
    suspect = Suspect(kind, ref=BATCH if kind is SuspectKind.CONTAINER else None)
    text = sentence(evidence(resource, suspect, 0.5, 0.5), names)
    assert "api" in text
    assert "{" not in text
    assert not text.endswith(".")


def test_names_of_suspects() -> None:
    assert suspect_name(BY_BATCH, names) == "batch"
    assert suspect_name(Suspect(SuspectKind.UNIT, name="a.service"), names) == "a.service"
    assert suspect_name(Suspect(SuspectKind.OWN_QUOTA), names) == "own quota"
