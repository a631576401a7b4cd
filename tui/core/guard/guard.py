"""The guard: follows the frames of a session, decides, acts by leases, and reports.

Everything that it does is a lease which it renews while it is needed, so a guard that dies frees everything. There is
one guard at a time, and it does nothing without a policy. It is called on the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

from collectors.attribution.evidence import Attribution, Suspect, SuspectKind
from collectors.sampling.frame import Frame
from runtime.errors import PytopError, RefusedError
from runtime.kernel import threads
from runtime.model import Container, ContainerRef, GroupRef, Ref
from tui.core.guard.decide import Watches, candidate_of, decide
from tui.core.guard.executor import Executor, GuardedContainment, OwnRung
from tui.core.guard.latency import LatencyReader
from tui.core.guard.policy import Candidate, P99Command, Policy
from tui.core.guard.report import GuardEvent, GuardEventKind
from tui.core.guard.situation import Decision, GuardAction, GuardReason, Situation
from tui.core.guard.writer_lock import WriterLock
from tui.core.hosts.frames import LOCAL
from tui.core.subject import Group, Subject
from tui.core.subscription import Changed

_PASSING: Final = frozenset(
    {GuardReason.TOO_SHORT, GuardReason.COOLING_DOWN, GuardReason.CALM_TOO_SHORT, GuardReason.ON_TRIAL}
)
"""Reasons to do nothing that are over in a moment, and are not told."""


class GuardedSession(Protocol):
    """What the guard asks of `tui.core.session.Session`."""

    read_only: bool

    @property
    def frame(self) -> Frame | None: ...

    @property
    def containers(self) -> Mapping[ContainerRef, Container]: ...

    @property
    def groups(self) -> Mapping[GroupRef, Group]: ...

    @property
    def attribution(self) -> Attribution: ...

    @property
    def containment(self) -> GuardedContainment: ...

    def find(self, ref: Ref) -> Subject | None: ...

    def subscribe(self, callback: Callable[[Changed], None]) -> Callable[[], None]: ...


class Guard:
    """One guard. `tell` is called on the event loop with every event."""

    def __init__(
        self,
        session: GuardedSession,
        policy: Policy,
        tell: Callable[[GuardEvent], None],
        *,
        latency: LatencyReader | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.policy = policy
        self._session = session
        self._tell = tell
        self._latency = latency or LatencyReader(self._no_figure)
        self._executor = executor or Executor(session.containment, policy)
        self._watches: Watches = {}
        self._started = False
        self._lock: WriterLock | None = None
        self._told: dict[Ref, tuple[object, ...]] = {}

    async def acquire(self) -> None:
        """Become the one guard; `run` does it too.

        Raises `ConflictError` while another guard runs, `RefusedError` in a session that may change nothing.
        """
        if self._session.read_only and not self.policy.dry_run:
            raise RefusedError("start the guard", detail="started with --read-only", hint="A dry run is possible")
        if self._lock is None:
            self._lock = await threads.acquiring(partial(WriterLock.acquire, self.policy.path), WriterLock.close)

    async def run(self) -> None:
        """Guard until cancelled; what is held then is for `release`, or runs out. Raises as `acquire`."""
        await self.acquire()
        fresh = asyncio.Event()
        unsubscribe = self._session.subscribe(lambda what: fresh.set() if what & Changed.FRAME else None)
        self._started = True
        self._report(GuardEventKind.STARTED)
        last: Frame | None = None
        try:
            while True:
                await fresh.wait()
                fresh.clear()
                frame = self._session.frame
                if frame is not None and frame is not last:
                    last = frame
                    await self.step(frame)
        finally:
            unsubscribe()
            await self._latency.close()
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def release(self) -> None:
        """Take back everything that is the guard's; call it after `run` has ended. Nothing for one that never ran."""
        self._unlock()
        if not self._started:
            return
        for event in await self._executor.release_all():
            self._emit(event)
        self._report(GuardEventKind.STOPPED)

    async def step(self, frame: Frame) -> None:
        """Decide by one frame, and act."""
        now_s = frame.at_ns / 1e9
        candidates = dict(self._candidates())
        self._settle(now_s, candidates)
        situation = Situation(
            now_s=now_s,
            candidates=candidates,
            usages=frame.usages,
            attribution=self._session.attribution,
            held=self._executor.leases(now_s),
            p99_ms=self._latency.figures(self._commands(candidates), now_s),
            refused=self._executor.refused(now_s),
            actions_left=self._executor.actions_left(now_s),
        )
        decisions, self._watches = decide(self.policy, situation, self._watches)
        for decision in decisions:
            candidate = candidate_of(situation, decision.suspect) if decision.suspect is not None else None
            self._emit(await self._executor.do(decision, candidate, now_s))
        for gone in self._told.keys() - {decision.victim for decision in decisions}:
            del self._told[gone]

    def _candidates(self) -> Iterator[tuple[Ref, Candidate]]:
        """The containers and groups of this machine that live."""
        for ref, container in self._session.containers.items():
            if container.state.live and ref.host == LOCAL:
                yield ref, Candidate(SuspectKind.CONTAINER, container.name, ref.engine, container.labels)
        for group_ref, group in self._session.groups.items():
            if group.state.live and group_ref.host == LOCAL:
                yield group_ref, Candidate(SuspectKind.CONTAINER, group.name, group_ref.engine)

    def _commands(self, candidates: Mapping[Ref, Candidate]) -> Mapping[Ref, tuple[str, P99Command]]:
        found: dict[Ref, tuple[str, P99Command]] = {}
        for ref, candidate in candidates.items():
            entry = self.policy.protection(candidate)
            if entry is not None and entry.p99 is not None:
                found[ref] = (candidate.name, entry.p99)
        return found

    def _settle(self, now_s: float, candidates: Mapping[Ref, Candidate]) -> None:
        """Report what has ended by somebody else's hand, or by its time."""

        def alive(suspect: Suspect) -> bool:
            return suspect.ref is None or suspect.ref in candidates

        for own, reason in self._executor.settle(now_s, alive):
            self._report(GuardEventKind.LOST, own=own, reason=reason)

    # reporting

    def _emit(self, event: GuardEvent) -> None:
        """Tell an event with its names. A decision to do nothing is told when it differs from the one before."""
        decision = event.decision
        if decision is None:
            return
        if decision.action is GuardAction.NOTHING:
            about = (event.kind, decision.reason, decision.suspect)
            if decision.reason in _PASSING or self._told.get(decision.victim) == about:
                return
            self._told[decision.victim] = about
        elif decision.action is not GuardAction.RENEW:
            self._told.pop(decision.victim, None)
        self._tell(replace(event, victim=self._name(decision.victim), suspect=self._suspect_name(decision.suspect)))

    def _report(self, kind: GuardEventKind, *, own: OwnRung | None = None, reason: GuardReason | None = None) -> None:
        decision: Decision | None = None
        names: dict[str, Any] = {}
        if own is not None:
            why = reason or GuardReason.EXPIRED
            decision = Decision(own.victim, GuardAction.NOTHING, why, suspect=own.suspect)
            names = {"victim": self._name(own.victim), "suspect": self._suspect_name(own.suspect), "rung": own.rung}
        self._tell(GuardEvent(kind, time.time_ns(), decision=decision, **names))

    def _no_figure(self, ref: Ref, error: PytopError) -> None:
        self._tell(GuardEvent(GuardEventKind.NO_FIGURE, time.time_ns(), victim=self._name(ref), error=error))

    def _name(self, ref: Ref) -> str:
        subject = self._session.find(ref)
        return subject.name if subject is not None and subject.name else ref.short

    def _suspect_name(self, suspect: Suspect | None) -> str:
        if suspect is None:
            return ""
        return self._name(suspect.ref) if suspect.ref is not None else suspect.name or suspect.kind.value
