"""A session whose evidence and ladder are scripted, for the screens that show and contain who hurts whom."""

from __future__ import annotations

import os
from typing import Any

from collectors.attribution.evidence import NO_ATTRIBUTION, Attribution
from runtime.containment.ladder import LADDERS
from runtime.containment.lease import Holder, Lease
from runtime.containment.rung import RungId
from runtime.containment.store import now_ns
from runtime.errors import PytopError
from runtime.model import ContainerRef, FieldOutcome, LimitChange, LimitOutcome, Ref, Resource, Verdict
from tests.app.fakes import HOST, FakeSweeper, container, fixed, usage
from tests.evidence import attributed, evidence
from tests.fake_engine import FakeEngine
from tui.core.containment.state import ClimbOutcome, PlannedRung, ProbeOutcome, TakenRung, VictimState
from tui.core.session import Session
from tui.core.undo import UndoPreview

NAMES = ("api", "batch", "web", "idle")
API, BATCH, WEB, IDLE = (container(name) for name in NAMES)
CPU = {"api": 0.2, "batch": 1.5, "web": 0.4, "idle": 0.0}


class ScriptedContainment:
    """A ladder for `api` against `batch`, of which nothing is told to a kernel."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Ref]] = []
        self.rungs: dict[Ref, tuple[TakenRung, ...]] = {}
        self.wait_now: float | None = 0.21
        self.wrong = False
        self.leases: tuple[Lease, ...] = ()
        self.refusal: PytopError | None = None

    def state(self, victim: Ref) -> VictimState | None:
        if victim not in self.rungs:
            return None
        rungs = self.rungs[victim]
        return VictimState(
            victim=victim,
            evidence=evidence(victim, BATCH.ref, 0.5),
            resource=Resource.CPU,
            rungs=rungs,
            wait_before=0.79,
            wait_now=self.wait_now,
            kept=0.4,
            recovered=self.wait_now is not None and self.wait_now < 0.2,
            wrong_suspect=self.wrong,
            expires_ns=min((each.lease.expires_ns for each in rungs), default=None),
        )

    def states(self) -> tuple[VictimState, ...]:
        return tuple(state for victim in self.rungs if (state := self.state(victim)) is not None)

    def loops(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        pass

    def replaced(self, outcome: LimitOutcome) -> None:
        pass

    async def propose(self, victim: Ref) -> PlannedRung | PytopError:
        return self.refusal or PlannedRung(
            victim=victim,
            evidence=evidence(victim, BATCH.ref, 0.5),
            rung=next(rung for rung in LADDERS[Resource.CPU] if rung.id is RungId.CPU_IDLE),
            target=BATCH.ref,
            target_name="batch",
            change=LimitChange(cpu_idle=True),
        )

    async def climb(self, victim: Ref) -> ClimbOutcome:
        self.done.append(("climb", victim))
        planned = await self.propose(victim)
        assert isinstance(planned, PlannedRung)
        taken = TakenRung(planned=planned, lease=lease(), taken_ns=1)
        self.rungs[victim] = (*self.rungs.get(victim, ()), taken)
        self.leases = (*self.leases, taken.lease)
        state = self.state(victim)
        assert state is not None
        return ClimbOutcome(planned, taken.lease, LimitOutcome(BATCH.ref, ()), state)

    async def step_back(self, victim: Ref) -> None:
        self.done.append(("step_back", victim))

    async def confirm(self, ref: Ref) -> None:
        self.done.append(("confirm", ref))

    async def probe(self, victim: Ref) -> ProbeOutcome:
        self.done.append(("probe", victim))
        return ProbeOutcome(evidence(victim, BATCH.ref, 0.5), (0.8, 0.8), (0.2, 0.2), True)


class ScriptedUndo:
    """What can be undone is set by the test."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Ref]] = []
        self.next_undo: UndoPreview | None = None
        self.next_redo: UndoPreview | None = None

    def note(self, outcome: LimitOutcome) -> None:
        pass

    async def undo(self) -> LimitOutcome:
        return self._replayed("undo", self.next_undo)

    async def redo(self) -> LimitOutcome:
        return self._replayed("redo", self.next_redo)

    def _replayed(self, name: str, preview: UndoPreview | None) -> LimitOutcome:
        assert preview is not None
        self.done.append((name, preview.ref))
        fields = [
            FieldOutcome(limit, value, preview.holds.get(limit), value, value, Verdict.APPLIED)  # type: ignore[arg-type]
            for limit, value in preview.change.items()
        ]
        return LimitOutcome(preview.ref, tuple(fields))


def lease(name: str = "batch", ref: ContainerRef = BATCH.ref, *, pid: int | None = None, seconds: float = 60) -> Lease:
    now = now_ns()
    return Lease(
        id="0a1b2c",
        ref=ref,
        name=name,
        target="container",
        boot="b",
        change=LimitChange(cpu_idle=True),
        before=LimitChange(cpu_idle=False),
        created_ns=now,
        expires_ns=now + int(seconds * 1e9),
        holder=Holder(pid=pid or os.getpid(), started=1, uid=0),
    )


HURT: Attribution = attributed(
    evidence(API.ref, BATCH.ref, 0.5, wait=0.79), evidence(WEB.ref, BATCH.ref, 0.2, wait=0.4)
)


class HurtSession(Session):
    """Its evidence and its containment are set by the test."""

    attribution: Any = NO_ATTRIBUTION
    containment: Any = None
    undoing: Any = None


def hurt_session(found: Attribution = HURT, **options: Any) -> tuple[HurtSession, ScriptedContainment]:
    """A session in which `batch` hurts `api` and `web`, if nothing else is said."""
    containers = [API, BATCH, WEB, IDLE]
    uses = {name: usage(cores) for name, cores in CPU.items()}
    sweeper = FakeSweeper(fixed(uses, containers), HOST)
    session = HurtSession([FakeEngine(containers)], sweeper=sweeper, interval=0.05, **options)  # type: ignore[arg-type]
    session.attribution, session.containment, session.undoing = found, ScriptedContainment(), ScriptedUndo()
    return session, session.containment
