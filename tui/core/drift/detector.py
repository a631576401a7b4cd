"""Limits that somebody else has changed: what is expected to hold, and what the kernel holds instead.

Expected is what the engine's record says, as far as it keeps changes, and else what the kernel held when it was first
read. From then on it is what was read last, what was set here, and what the engine records anew. The limits that every
sweep measures are compared in each; a difference is believed only after the container's own files were read, since a
sweep gives the tightest limit with those above. Beside these, the files of those are read that were changed here or
differ, which are few, and of some others in turn, so that every limit is compared.
Nothing is said while a change is under way here, nor just after a start.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from collectors.history.annotation import AnnotatedLimit, AnnotationKind
from collectors.history.rings import History
from collectors.sampling.frame import Frame, Usage
from collectors.sampling.metrics import METRICS
from runtime.limits.dependencies import followers
from runtime.model import (
    NETWORK_LIMITS,
    UNLIMITED,
    DeviceRate,
    Event,
    EventKind,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    Ref,
    Value,
    Verdict,
)
from tui.core.drift.compare import CPUSETS, comparable
from tui.core.drift.expectation import Expectation
from tui.core.subject import EngineRef, Subject, engine_of, incarnation

SETTLE_S: Final = 2.0  # seconds after a start in which an engine may still be writing limits
MAX_RECORDS: Final = 8  # of the engines' records that are asked for in one round, at most
MAX_READ_IN_TURN: Final = 8  # containers of an engine whose files are read in one round though nothing looks different
FIRST_PAUSE_S: Final = 1.0  # seconds after which a record that could not be had is asked for again; doubled each time
LAST_PAUSE_S: Final = 60.0
SWEPT: Final = {metric.limit: metric.extract for metric in METRICS.values() if metric.limit is not None}


@dataclass(frozen=True, slots=True)
class Drift:
    """One limit that is not as it was left; `since_ns` is the wall clock at which it was noticed."""

    name: LimitName
    expected: Value
    kernel: Value
    since_ns: int


class DriftDetector:
    """Compares, frame by frame; what is found is in `found`, by container or group."""

    def __init__(self, history: History, clock: Callable[[], float] = time.monotonic) -> None:
        self.found: Mapping[Ref, tuple[Drift, ...]] = {}
        self._history = history
        self._clock = clock
        self._known: dict[Ref, Expectation] = {}
        self._ncpu = os.cpu_count() or 1

    # what is told

    def inventory(self, subjects: Iterable[Subject]) -> None:
        """Begin anew with what was restarted, forget what is gone. Live ones only are known."""
        gone = set(self._known)
        for subject in subjects:
            if subject.pid is None:
                continue
            ref, begun = subject.ref, incarnation(subject)
            gone.discard(ref)
            known = self._known.get(ref)
            if known is None or known.begun != begun:
                self._drop(ref)
                self._known[ref] = Expectation(engine_of(ref), begun, self._clock() + SETTLE_S)
        for ref in gone:
            self._drop(ref)

    def event(self, event: Event) -> None:
        """An engine has changed its record."""
        known = self._known.get(event.ref)
        if known is not None and event.kind is EventKind.UPDATED:
            known.ask()

    def begin(self, ref: Ref) -> None:
        """A change is made from here: what is read now says nothing."""
        if ref in self._known:
            self._known[ref].generation += 1
            self._known[ref].busy += 1

    def end(self, ref: Ref, outcome: LimitOutcome | None) -> None:
        """The change is over; where it has come to something, what the kernel was read to hold is expected from now on.

        What the kernel moves together with that is taken as it is, and nothing else is.
        """
        known = self._known.get(ref)
        if known is None:
            return
        known.generation += 1
        known.busy = max(0, known.busy - 1)
        known.ask()
        done: set[LimitName] = set()
        for each in outcome.fields if outcome is not None else ():
            held = each.verdict in (Verdict.APPLIED, Verdict.ROUNDED)
            if isinstance(each.kernel, Missing) or not (held or each.kernel != each.before):
                continue
            done.add(each.name)
            known.left[each.name] = each.kernel
            known.due.pop(each.name, None)
        known.own |= done
        told = {drift.name for drift in self.found.get(ref, ())}
        known.follows |= _followers(done) - told
        self._put(ref, tuple(drift for drift in self.found.get(ref, ()) if drift.name not in done))

    def accept(self, ref: Ref) -> None:
        """What the kernel holds is right."""
        known = self._known.get(ref)
        if known is not None:
            for drift in self.found.get(ref, ()):
                known.left[drift.name] = drift.kernel
                known.due.pop(drift.name, None)
            known.generation += 1
            known.swept = None
        self._put(ref, ())

    def expected(self, ref: Ref) -> LimitChange:
        """The change that would undo what somebody else did."""
        return LimitChange.of({drift.name: _back(drift) for drift in self.found.get(ref, ())})

    # what is asked for

    def unrecorded(self, engine: EngineRef, refs: Iterable[Ref]) -> list[Ref]:
        """Some of those, of this engine, whose record it has not told since something changed."""
        now = self._clock()
        found = ((ref, self._known[ref]) for ref in refs if ref in self._known)
        asked = (ref for ref, known in found if known.engine == engine and known.unsure and now >= known.ask_at)
        return list(islice(asked, MAX_RECORDS))

    def unanswered(self, ref: Ref) -> None:
        """The engine could not tell: it is asked again, with pauses that grow."""
        known, now = self._known.get(ref), self._clock()
        if known is not None and now >= known.ask_at:  # not twice for one failure of the engine
            known.pause = min(max(FIRST_PAUSE_S, 2 * known.pause), LAST_PAUSE_S)
            known.unsure, known.ask_at = True, now + known.pause

    def away(self, engine: EngineRef) -> None:
        """The engine tells nothing at all now: none of its containers is asked for before the pause is over."""
        for ref, known in self._known.items():
            if known.engine == engine:
                self.unanswered(ref)

    def recorded(self, ref: Ref, record: Limits, unrecorded: Collection[LimitName] = ()) -> None:
        """What the engine says; `unrecorded` as in `Capabilities`. What it says anew is expected, but for what is ours.

        What it no longer says, and what the kernel moves together with its news, is taken as it is.
        """
        known = self._known.get(ref)
        if known is None:
            return
        first = known.unsure and not known.record
        known.pause = known.ask_at = 0.0
        known.unsure = False
        before, known.record = known.record, comparable(record, unrecorded)
        names = {name for name in {*before, *known.record} if before.get(name) != known.record.get(name)} - known.own
        if not names:
            return
        known.due = {name: value for name, value in known.due.items() if name not in names}
        known.due.update({name: known.record[name] for name in names if name in known.record})
        if not first:
            known.follows |= (names | _followers(names)) - known.due.keys() - known.own
        known.swept, known.read_at = None, 0.0

    def suspects(self, engine: EngineRef, frame: Frame) -> dict[Ref, int]:
        """Containers of this engine whose files should be read, each with a number to hand in with the answer."""
        now = self._clock()
        self._ncpu = frame.host.ncpu
        chosen: dict[Ref, int] = {}
        others: list[tuple[float, Ref]] = []
        for ref, known in self._known.items():
            if known.engine != engine or known.busy or now < known.settled:
                continue
            usage = frame.usages.get(ref)
            if known.own or ref in self.found or (usage is not None and self._differs(known, usage)):
                chosen[ref] = known.generation
            else:
                others.append((known.read_at, ref))
        turns = heapq.nsmallest(MAX_READ_IN_TURN, others, key=lambda other: other[0])
        return {**chosen, **{ref: self._known[ref].generation for _, ref in turns}}

    def generation(self, ref: Ref) -> int:
        """The number to hand in with an answer that no frame has led to."""
        return self._known[ref].generation if ref in self._known else 0

    def wants_network(self, ref: Ref) -> bool:
        """Whether a rate of its network was set here or is on record: reading those costs more."""
        known = self._known.get(ref)
        return known is not None and not NETWORK_LIMITS.isdisjoint(known.own | known.record.keys())

    def wants_parent(self, ref: Ref, held: Limits) -> bool:
        """Whether a difference may come from what the parent cgroup has."""
        known = self._known.get(ref)
        return known is not None and not CPUSETS.isdisjoint(known.differences(held, Limits(), self._ncpu))

    def doubts(self, ref: Ref, held: Limits, above: Limits = Limits()) -> bool:  # noqa: B008  (frozen)
        """Whether a difference is new and the engine could have made it: then its record is wanted again."""
        known = self._known.get(ref)
        if known is None or self._clock() < known.ask_at:
            return False
        news = known.differences(held, above, self._ncpu).keys() - {drift.name for drift in self.found.get(ref, ())}
        if (news & known.record.keys()) <= known.own:
            return False
        known.unsure = True
        return True

    def judge(
        self,
        ref: Ref,
        held: Limits,
        generation: int,
        usage: Usage | None,
        above: Limits = Limits(),  # noqa: B008  (frozen)
    ) -> bool:
        """Take what the files hold, read for the sake of `usage`; whether anything about drift has changed by it.

        `above` has the parent's lists of CPUs and memory nodes.
        """
        known = self._known.get(ref)
        if known is None or known.generation != generation or known.busy:
            return False
        before = {drift.name: drift for drift in self.found.get(ref, ())}
        expected = known.differences(held, above, self._ncpu)
        drifts = []
        for name, value in expected.items():
            now, old = held.get(name), before.get(name)
            if isinstance(now, Missing):
                continue
            if old is not None and old.kernel == now:
                drifts.append(old)
                continue
            drifts.append(Drift(name, value, now, time.time_ns()))
            self._history.annotate(ref, AnnotationKind.LIMIT_DRIFTED, AnnotatedLimit(name, now, value))
        known.take(held, expected)
        known.swept = _swept(usage) if usage is not None and not drifts else None
        known.read_at = self._clock()
        return self._put(ref, tuple(drifts))

    # inside

    def _differs(self, known: Expectation, usage: Usage) -> bool:
        """What the sweep gave is not what is expected, and was not looked into already."""
        swept = Limits.of({name: extract(usage) for name, extract in SWEPT.items()})
        if known.swept == _swept(usage):
            return False
        return not known.differences(swept, Limits(), self._ncpu).keys().isdisjoint(SWEPT)

    def _put(self, ref: Ref, drifts: tuple[Drift, ...]) -> bool:
        if drifts == self.found.get(ref, ()):
            return False
        rest = {key: value for key, value in self.found.items() if key != ref}
        self.found = {**rest, ref: drifts} if drifts else rest
        return True

    def _drop(self, ref: Ref) -> None:
        self._known.pop(ref, None)
        self._put(ref, ())


def _swept(usage: Usage) -> object:
    return tuple(extract(usage) for extract in SWEPT.values())


def _followers(names: Collection[LimitName]) -> set[LimitName]:
    """Limits that may rightly move when these are changed."""
    return set(followers(names))


def _back(drift: Drift) -> Value:
    """The value that was expected; of a list of rates also that there were no others."""
    if not isinstance(drift.expected, tuple) or not isinstance(drift.kernel, tuple):
        return drift.expected
    wanted = {each.device for each in drift.expected}
    new = (DeviceRate(each.device, UNLIMITED) for each in drift.kernel if each.device not in wanted)
    return (*drift.expected, *new)
