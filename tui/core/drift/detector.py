"""Limits that somebody else has changed: what is expected to hold, and what the kernel holds instead.

At first the engine's record is expected, as far as it follows changes, else what the kernel held at the first read.
After that: the value of the last read, the values that were set here, and new values of the engine's record.

The files of a container are read after somebody has written to them, where that can be watched. As the net under that,
and where nothing can be watched, the limits that every sweep measures are compared. A difference there counts only
after the container's own limit files were read, because a sweep gives the tightest limit of all parents. The files of
a few others are read in each round in turn, so that every limit of every container is compared in time. Nothing is
reported while a change is made here, nor just after a start.
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
from runtime.limits.restoring import restoring
from runtime.model import (
    NETWORK_LIMITS,
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
from tui.core.drift.leased import LeasedLimits
from tui.core.subject import EngineRef, Subject, engine_of, incarnation

SETTLE_S: Final = 2.0  # after a start, while an engine may still be writing limits
MAX_RECORDS: Final = 8  # records of one engine that are read in one round
MAX_READ_IN_TURN: Final = 8  # containers of an engine without a difference whose files are read in one round
MAX_WATCHED_IN_TURN: Final = 1  # the same for those whose files are watched
MAX_WRITTEN: Final = 32  # containers whose files are read in one round since somebody has written to them
COMPARE_INTERVAL_S: Final = 10.0  # between two comparisons of what a sweep gives of one whose files are watched
FIRST_PAUSE_S: Final = 1.0  # before a record that could not be read is read again; doubled up to LAST_PAUSE_S
LAST_PAUSE_S: Final = 60.0
SAMPLED_LIMITS: Final = {metric.limit: metric.extract for metric in METRICS.values() if metric.limit is not None}


@dataclass(frozen=True, slots=True)
class Drift:
    """One limit that somebody else has changed; `since_ns` is the wall clock at which it was detected."""

    name: LimitName
    expected: Value
    kernel: Value
    since_ns: int


class DriftDetector:
    """Compares limits with what is expected.

    Attributes:
        drifts: by container or group; replaced, never mutated.
        watched: those of which `written` tells after somebody has written to their files.
    """

    def __init__(self, history: History, clock: Callable[[], float] = time.monotonic) -> None:
        self.drifts: Mapping[Ref, tuple[Drift, ...]] = {}
        self.watched: Collection[Ref] = frozenset()
        self._written: set[Ref] = set()
        self._leased = LeasedLimits()
        self._history = history
        self._clock = clock
        self._expectations: dict[Ref, Expectation] = {}
        self._ncpu = os.cpu_count() or 1

    # input

    def inventory(self, subjects: Iterable[Subject]) -> None:
        """Start again with containers that were restarted, forget those that are gone. Only live ones are kept."""
        gone = set(self._expectations)
        for subject in subjects:
            if subject.pid is None:
                continue
            ref, current = subject.ref, incarnation(subject)
            gone.discard(ref)
            expectation = self._expectations.get(ref)
            if expectation is None or expectation.incarnation != current:
                self._drop(ref)
                self._expectations[ref] = Expectation(engine_of(ref), current, self._clock() + SETTLE_S)
        for ref in gone:
            self._drop(ref)

    def event(self, event: Event) -> None:
        """An engine has changed its record."""
        expectation = self._expectations.get(event.ref)
        if expectation is not None and event.kind is EventKind.UPDATED:
            expectation.request_record()

    def written(self, refs: Iterable[Ref]) -> None:
        """Somebody has written to their limit files: these are read in the next round."""
        self._written |= self._expectations.keys() & set(refs)

    def leased(self, leases: LeasedLimits) -> None:
        """What leases hold now; those whose leases have changed are read in the next round."""
        before, self._leased = self._leased, leases
        refs = {*before.refs(), *leases.refs()}
        self.written(ref for ref in refs if before.of(ref) != leases.of(ref))

    def begin(self, ref: Ref) -> None:
        """A change is being made here: values that are read meanwhile are not compared."""
        if ref in self._expectations:
            self._expectations[ref].generation += 1
            self._expectations[ref].busy += 1

    def end(self, ref: Ref, outcome: LimitOutcome | None) -> None:
        """The change is over; from now on the values that were read back after it are expected.

        Limits that the kernel adjusts together with them are accepted as they are, no others.
        """
        expectation = self._expectations.get(ref)
        if expectation is None:
            return
        expectation.generation += 1
        expectation.busy = max(0, expectation.busy - 1)
        expectation.request_record()
        done: set[LimitName] = set()
        for each in outcome.fields if outcome is not None else ():
            held = each.verdict in (Verdict.APPLIED, Verdict.ROUNDED)
            if isinstance(each.kernel, Missing) or not (held or each.kernel != each.before):
                continue
            done.add(each.name)
            expectation.last_seen[each.name] = each.kernel
            expectation.pending.pop(each.name, None)
        expectation.set_here |= done
        reported = {drift.name for drift in self.drifts.get(ref, ())}
        expectation.side_effects |= _followers(done) - reported
        self._put(ref, tuple(drift for drift in self.drifts.get(ref, ()) if drift.name not in done))

    def accept(self, ref: Ref) -> None:
        """Expect what the kernel holds from now on."""
        expectation = self._expectations.get(ref)
        if expectation is not None:
            for drift in self.drifts.get(ref, ()):
                expectation.last_seen[drift.name] = drift.kernel
                expectation.pending.pop(drift.name, None)
            expectation.generation += 1
            expectation.sampled = None
        self._put(ref, ())

    def expected(self, ref: Ref) -> LimitChange:
        """The change that sets the expected values again."""
        return LimitChange.of(
            {drift.name: restoring(drift.expected, drift.kernel) for drift in self.drifts.get(ref, ())}
        )

    # what is to be read

    def unrecorded(self, engine: EngineRef, refs: Iterable[Ref]) -> list[Ref]:
        """Those of this engine whose record is to be read, at most `MAX_RECORDS`."""
        now = self._clock()
        candidates = ((ref, self._expectations[ref]) for ref in refs if ref in self._expectations)
        wanted = (
            ref
            for ref, expectation in candidates
            if expectation.engine == engine and expectation.record_wanted and now >= expectation.record_wanted_at
        )
        return list(islice(wanted, MAX_RECORDS))

    def unanswered(self, ref: Ref) -> None:
        """The record could not be read: it is read again after a pause, which doubles with each failure."""
        expectation, now = self._expectations.get(ref), self._clock()
        if expectation is not None and now >= expectation.record_wanted_at:  # not twice for one failure of the engine
            expectation.retry_pause = min(max(FIRST_PAUSE_S, 2 * expectation.retry_pause), LAST_PAUSE_S)
            expectation.record_wanted, expectation.record_wanted_at = True, now + expectation.retry_pause

    def engine_away(self, engine: EngineRef) -> None:
        """The engine does not answer: no record of its containers is read until the pause is over."""
        for ref, expectation in self._expectations.items():
            if expectation.engine == engine:
                self.unanswered(ref)

    def recorded(self, ref: Ref, record: Limits, unrecorded: Collection[LimitName] = ()) -> None:
        """Take the engine's record; `unrecorded` as in `Capabilities`.

        Values that are new in it are expected, except for limits that were set here. Values that are no longer in it,
        and limits that the kernel adjusts together with the new ones, are accepted as they are.
        """
        expectation = self._expectations.get(ref)
        if expectation is None:
            return
        first = expectation.record_wanted and not expectation.record
        expectation.retry_pause = expectation.record_wanted_at = 0.0
        expectation.record_wanted = False
        before, expectation.record = expectation.record, comparable(record, unrecorded)
        names = {
            name for name in {*before, *expectation.record} if before.get(name) != expectation.record.get(name)
        } - expectation.set_here
        if not names:
            return
        expectation.pending = {name: value for name, value in expectation.pending.items() if name not in names}
        expectation.pending.update({name: expectation.record[name] for name in names if name in expectation.record})
        if not first:
            expectation.side_effects |= (names | _followers(names)) - expectation.pending.keys() - expectation.set_here
        expectation.sampled, expectation.read_at = None, 0.0

    def suspects(self, engine: EngineRef, frame: Frame, *, only_written: bool = False) -> dict[Ref, int]:
        """Containers of this engine whose files are to be read, each with the generation to give to `judge`.

        `only_written` leaves out those whose files nobody is known to have written to, for a frame that was taken.
        """
        now = self._clock()
        self._ncpu = frame.host.ncpu
        refs = self._written if only_written else self._expectations
        settled = {
            ref: expectation
            for ref in refs
            if (expectation := self._expectations[ref]).engine == engine
            and not expectation.busy
            and now >= expectation.settled_at
        }
        chosen = list(islice((ref for ref in self._written if ref in settled), MAX_WRITTEN))
        if not only_written:
            chosen += [ref for ref in settled if ref not in self._written and self._is_suspect(ref, frame, now)]
            chosen += self._in_turn(settled.keys() - set(chosen) - self._written)
        self._written.difference_update(chosen)
        return {ref: self._expectations[ref].generation for ref in chosen}

    def _is_suspect(self, ref: Ref, frame: Frame, now: float) -> bool:
        """Whether its files are to be read although nobody is known to have written to them."""
        expectation, usage = self._expectations[ref], frame.usages.get(ref)
        told = ref in self.watched and not self.wants_network(ref)
        if (expectation.set_here or ref in self.drifts) and not told:
            return True
        if usage is None or (told and now - expectation.compared_at < COMPARE_INTERVAL_S):
            return False
        expectation.compared_at = now
        return self._differs(expectation, usage)

    def _in_turn(self, refs: Collection[Ref]) -> list[Ref]:
        """A few of these, those first whose files were not read for the longest time."""
        told = {ref for ref in refs if ref in self.watched and self._expectations[ref].read_at}
        parts = ((told, MAX_WATCHED_IN_TURN), (set(refs) - told, MAX_READ_IN_TURN))
        return [
            ref
            for part, count in parts
            for ref in heapq.nsmallest(count, part, key=lambda ref: self._expectations[ref].read_at)
        ]

    def generation(self, ref: Ref) -> int:
        """The generation to give to `judge` for a read outside the rounds."""
        return self._expectations[ref].generation if ref in self._expectations else 0

    def wants_network(self, ref: Ref) -> bool:
        """Whether network rates are compared: one was set here or is on record. Reading them is expensive."""
        expectation = self._expectations.get(ref)
        return expectation is not None and not NETWORK_LIMITS.isdisjoint(
            expectation.set_here | expectation.record.keys()
        )

    def wants_parent(self, ref: Ref, held: Limits) -> bool:
        """Whether the parent's cpusets are needed to judge a difference."""
        expectation = self._expectations.get(ref)
        return expectation is not None and not CPUSETS.isdisjoint(expectation.differences(held, Limits(), self._ncpu))

    def doubts(self, ref: Ref, held: Limits, above: Limits = Limits()) -> bool:  # noqa: B008  (frozen)
        """Whether the engine could have made a new difference; if so, its record is read again before `judge`."""
        expectation = self._expectations.get(ref)
        if expectation is None or self._clock() < expectation.record_wanted_at:
            return False
        new = expectation.differences(held, above, self._ncpu).keys() - self._leased.excused(ref, held)
        new -= {drift.name for drift in self.drifts.get(ref, ())}
        if (new & expectation.record.keys()) <= expectation.set_here:
            return False
        expectation.record_wanted = True
        return True

    def judge(
        self,
        ref: Ref,
        held: Limits,
        generation: int,
        usage: Usage | None,
        above: Limits = Limits(),  # noqa: B008  (frozen)
    ) -> bool:
        """Compare the values that were read from the files; whether `drifts` has changed.

        `usage` is the sample that led to the read, if one did; `above` has the parent's CPUs and memory nodes.
        """
        expectation = self._expectations.get(ref)
        if expectation is None or expectation.generation != generation or expectation.busy:
            return False
        before = {drift.name: drift for drift in self.drifts.get(ref, ())}
        excused = self._leased.excused(ref, held)
        expected = {
            name: value
            for name, value in expectation.differences(held, above, self._ncpu).items()
            if name not in excused
        }
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
        expectation.take(held, expected.keys() | excused)
        expectation.sampled = _sampled(usage) if usage is not None and not drifts else None
        expectation.read_at = self._clock()
        return self._put(ref, tuple(drifts))

    # internals

    def _differs(self, expectation: Expectation, usage: Usage) -> bool:
        """The sampled limits differ from what is expected, and the files were not read for the same sample before."""
        sampled = Limits.of({name: extract(usage) for name, extract in SAMPLED_LIMITS.items()})
        if expectation.sampled == _sampled(usage):
            return False
        return not expectation.differences(sampled, Limits(), self._ncpu).keys().isdisjoint(SAMPLED_LIMITS)

    def _put(self, ref: Ref, drifts: tuple[Drift, ...]) -> bool:
        if drifts == self.drifts.get(ref, ()):
            return False
        rest = {key: value for key, value in self.drifts.items() if key != ref}
        self.drifts = {**rest, ref: drifts} if drifts else rest
        return True

    def _drop(self, ref: Ref) -> None:
        self._expectations.pop(ref, None)
        self._written.discard(ref)
        self._put(ref, ())


def _sampled(usage: Usage) -> object:
    return tuple(extract(usage) for extract in SAMPLED_LIMITS.values())


def _followers(names: Collection[LimitName]) -> set[LimitName]:
    """Limits that the kernel adjusts when these are changed."""
    return set(followers(names))
