"""A session with a victim and a hog on leases in memory; frames and evidence are those that a test gives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from collectors.attribution.evidence import Attribution, Confidence, Evidence, Suspect, SuspectKind
from collectors.sampling.frame import Frame, Pressure, Usage
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Container, Limits, Ref, Resource
from tests.app.fakes import HOST, NOW_NS, FakeSweeper, container, usage
from tests.fake_engine import FakeEngine
from tests.fake_leases import FakeLeases
from tui.core.containment.assembly import ContainmentOptions
from tui.core.inspector import Inspector
from tui.core.session import Session

VICTIM = container("api")
HOG = container("batch")
SAINT = container("saint", labels={"pytop.untouchable": "true"})


class Script:
    """An attributor that says what it was given, and notes probes."""

    def __init__(self) -> None:
        self.evidence: tuple[Evidence, ...] = ()
        self.probes: list[tuple[Ref, Suspect, Resource, bool]] = []

    def take(self, frame: Frame) -> Attribution:
        by_victim: dict[Ref, tuple[Evidence, ...]] = {}
        for each in self.evidence:
            by_victim[each.victim] = (*by_victim.get(each.victim, ()), each)
        return Attribution(frame.at_ns, by_victim)

    def probed(self, victim: Ref, suspect: Suspect, resource: Resource, confirmed: bool) -> None:
        self.probes.append((victim, suspect, resource, confirmed))


class Stage:
    """The session, its leases and its frames of a second each."""

    def __init__(self, session: Session, leases: FakeLeases, engine: FakeEngine, script: Script) -> None:
        self.session = session
        self.contain = session.containment
        self.leases = leases
        self.engine = engine
        self.script = script
        self.number = 0

    def frame(self, *, waiting: float, hog: float = 1.5, **more: Usage) -> None:
        self.number += 1
        at = self.number * 10**9
        pressure = {name: Pressure(waiting, waiting) for name in ("cpu", "memory", "io")}
        usages: dict[Ref, Usage] = {
            VICTIM.ref: usage(0.3, waiting=waiting, pressure=pressure),
            HOG.ref: usage(hog, memory=400 << 20, pids=50),
            SAINT.ref: usage(0.4),
        }
        self.session._measurement.take("", Frame(self.number, at, NOW_NS + at, 10**9, 1000, HOST, usages=usages))

    def frames(self, count: int, *, waiting: float, hog: float = 1.5) -> None:
        for _ in range(count):
            self.frame(waiting=waiting, hog=hog)

    def held(self, who: Container = HOG) -> Limits:
        return self.leases.limits(who.ref)


def evidence(by: Container | Suspect = HOG, resource: Resource = Resource.CPU, **more: Any) -> Evidence:
    known: dict[str, Any] = {
        "wait": 0.8,
        "share": 0.9,
        "confidence": Confidence.STRONG,
        "since_ns": 1,
    }
    who = by if isinstance(by, Suspect) else Suspect(SuspectKind.CONTAINER, by.ref)
    known |= more
    return Evidence(VICTIM.ref, who, resource, known["wait"] * known["share"], **known)


async def opened(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Stage:
    leases, engine = FakeLeases(), FakeEngine([VICTIM, HOG, SAINT])

    async def limits(self: Inspector, subject: Container, *, network: bool = True) -> Limits:
        return leases.limits(subject.ref)

    async def update(key: str, change: Any) -> Any:
        outcome = await FakeEngine.update(engine, key, change)
        ref = next(ref for ref in engine.all if ref.id == key)
        held = leases.limits(ref)
        leases.kernel[ref] = held.merge(dict(change.items()))
        return replace(outcome, fields=tuple(replace(each, before=held.get(each.name)) for each in outcome.fields))

    monkeypatch.setattr(Inspector, "limits", limits)
    monkeypatch.setattr(Inspector, "cgroup", lambda self, subject: Cgroup())
    monkeypatch.setattr(engine, "update", update)
    names = options.pop("untouchable", ())
    session = Session(
        [engine],
        sweeper=FakeSweeper(lambda number, targets: {}),
        containment=ContainmentOptions(leases=leases, outsiders=leases, untouchable=names),
        **options,
    )
    await session.refresh()
    script = Script()
    session._attribution._by_host[""] = script
    return Stage(session, leases, engine, script)


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A victim that waits for CPU 80 % of the time, by a hog."""
    made = await opened(monkeypatch)
    made.script.evidence = (evidence(),)
    made.frames(4, waiting=0.8)
    yield made
    await made.session.close()
