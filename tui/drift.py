"""Limits that somebody else has changed: what is expected to hold, and what the kernel holds instead.

Expected is what was set here and read back, and for CPU, memory and processes the engine's own record. The limits that
every sweep measures are compared in each; a difference is believed only after the container's own files were read:
a sweep gives the tightest limit with those above. A container that was changed here is read in every round: few are.
Nothing is said while a change is under way here, nor just after a start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from collectors.frame import Frame, Usage
from collectors.history import History
from runtime.model import (
    Container,
    ContainerRef,
    Event,
    EventKind,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    Unlimited,
    Value,
    Verdict,
)
from tui.grouping import GROUP

SETTLE: Final = 2.0  # seconds after a start in which an engine may still be writing limits
RECORDS: Final = 8  # of the engines' records that are asked for in one round, at most
FIRST_PAUSE: Final = 1.0  # seconds after which a record that could not be had is asked for again; doubled each time
LAST_PAUSE: Final = 60.0
SWEPT: Final[Mapping[LimitName, str]] = {
    LimitName.CPUS: "cpu_limit",
    LimitName.MEMORY: "memory_limit",
    LimitName.PIDS: "pids_limit",
}
NETWORK: Final = frozenset({LimitName.NET_EGRESS, LimitName.NET_INGRESS})


@dataclass(frozen=True, slots=True)
class Drift:
    """One limit that is not as it was left; `since_ns` is the wall clock at which it was noticed."""

    name: LimitName
    expected: Value
    kernel: Value
    since_ns: int


@dataclass(slots=True)
class _Known:
    """What is known of one container since its process began."""

    begun: object  # differs after a restart
    settled: float  # the monotonic time from which on differences count
    ours: dict[LimitName, Value]  # set here, read back
    record: dict[LimitName, Value] | None = None  # None: to be asked for
    ask_at: float = 0.0  # the monotonic time from which on it may be asked for
    pause: float = 0.0  # seconds that were waited after the last failure
    generation: int = 0
    busy: int = 0
    moved: frozenset[LimitName] = frozenset()  # a change may move these with it: take them as they are now
    looked: object = None  # what was compared when the files were last read, and no drift was found


class Drifts:
    """Compares, frame by frame; what is found is in `found`, by container."""

    def __init__(self, history: History, clock: Callable[[], float] = time.monotonic) -> None:
        self.found: Mapping[ContainerRef, tuple[Drift, ...]] = {}
        self._history = history
        self._clock = clock
        self._known: dict[ContainerRef, _Known] = {}

    # what is told

    def inventory(self, containers: Mapping[ContainerRef, Container]) -> None:
        """Begin anew with what was restarted, forget what is gone. Live ones only are known."""
        for ref, container in containers.items():
            if container.pid is None:
                self._drop(ref)
                continue
            known, begun = self._known.get(ref), container.pid if ref.engine != GROUP else container.cgroup
            if known is None or known.begun != begun:
                self._drop(ref)
                self._known[ref] = _Known(begun, self._clock() + SETTLE, {})
        for ref in self._known.keys() - containers.keys():
            self._drop(ref)

    def event(self, event: Event) -> None:
        """An engine has changed its record."""
        known = self._known.get(event.ref)
        if known is not None and event.kind is EventKind.UPDATED:
            known.record, known.looked, known.ask_at = None, None, 0.0

    def begin(self, ref: ContainerRef) -> None:
        """A change is made from here: what is read now says nothing."""
        if ref in self._known:
            self._known[ref].generation += 1
            self._known[ref].busy += 1

    def end(self, ref: ContainerRef, outcome: LimitOutcome | None) -> None:
        """The change is over; what the kernel was read to hold is what is expected from now on."""
        known = self._known.get(ref)
        if known is None:
            return
        known.generation += 1
        known.busy = max(0, known.busy - 1)
        known.record, known.looked = None, None
        done = [f for f in outcome.fields if f.verdict in (Verdict.APPLIED, Verdict.ROUNDED)] if outcome else []
        for field in done:
            if not isinstance(field.kernel, Missing):
                known.ours[field.name] = field.kernel
        names = {field.name for field in done}
        known.moved = frozenset(known.ours.keys() - names - {drift.name for drift in self.found.get(ref, ())})
        self._put(ref, tuple(d for d in self.found.get(ref, ()) if d.name not in names))

    def accept(self, ref: ContainerRef) -> None:
        """What the kernel holds is right."""
        known = self._known.get(ref)
        if known is not None:
            known.ours.update({drift.name: drift.kernel for drift in self.found.get(ref, ())})
            known.generation += 1
            known.looked = None
        self._put(ref, ())

    def expected(self, ref: ContainerRef) -> LimitChange:
        """The change that would undo what somebody else did."""
        return LimitChange(**{d.name.value: d.expected for d in self.found.get(ref, ())})  # type: ignore[arg-type]

    # what is asked for

    def unrecorded(self, refs: Iterable[ContainerRef]) -> list[ContainerRef]:
        """Some of those whose engine has not told its record since something changed."""
        now = self._clock()
        found = ((ref, self._known[ref]) for ref in refs if ref in self._known)
        return [ref for ref, known in found if known.record is None and now >= known.ask_at][:RECORDS]

    def unanswered(self, ref: ContainerRef) -> None:
        """The engine could not tell: it is asked again, with pauses that grow."""
        known, now = self._known.get(ref), self._clock()
        if known is not None and now >= known.ask_at:
            known.pause = min(max(FIRST_PAUSE, 2 * known.pause), LAST_PAUSE)
            known.record, known.ask_at = None, now + known.pause

    def away(self, engine: str) -> None:
        """The engine tells nothing at all now: none of its containers is asked for before the pause is over."""
        for ref, known in self._known.items():
            if ref.engine == engine and known.record is None:
                self.unanswered(ref)

    def recorded(self, ref: ContainerRef, record: Limits) -> None:
        """What the engine says. No limit on tasks means whatever systemd's default is: that is no difference."""
        known = self._known.get(ref)
        if known is None:
            return
        known.pause = known.ask_at = 0.0
        found = {name: record.get(name) for name in SWEPT}
        known.record = {name: value for name, value in found.items() if not isinstance(value, Missing)}
        if isinstance(known.record.get(LimitName.PIDS), Unlimited):
            del known.record[LimitName.PIDS]

    def suspects(self, engine: str, frame: Frame) -> dict[ContainerRef, int]:
        """Containers of this engine whose files should be read, each with a number to hand in with the answer."""
        now = self._clock()
        chosen = {}
        for ref, known in self._known.items():
            if ref.engine != engine or known.busy or now < known.settled:
                continue
            usage = frame.usages.get(ref)
            if known.ours or ref in self.found or (usage is not None and self._differs(known, usage)):
                chosen[ref] = known.generation
        return chosen

    def wants_network(self, ref: ContainerRef) -> bool:
        """Whether a rate of its network was set here: reading those costs more."""
        return ref in self._known and bool(NETWORK & self._known[ref].ours.keys())

    def doubts(self, ref: ContainerRef, held: Limits) -> bool:
        """Whether a difference is new and rests on the engine's record alone."""
        known = self._known.get(ref)
        if known is None or not known.record:
            return False
        told = {drift.name for drift in self.found.get(ref, ())}
        return any(
            name not in known.ours and name not in told and _differ(name, held.get(name), value)
            for name, value in known.record.items()
        )

    def judge(self, ref: ContainerRef, held: Limits, generation: int, usage: Usage | None) -> bool:
        """Take what the files hold, read for the sake of `usage`; whether anything about drift has changed by it."""
        known = self._known.get(ref)
        if known is None or known.generation != generation or known.busy:
            return False
        before = {drift.name: drift for drift in self.found.get(ref, ())}
        for name in known.moved:
            value = held.get(name)
            if not isinstance(value, Missing):
                known.ours[name] = value
        known.moved = frozenset()
        drifts = []
        for name, expected in _expected(known).items():
            value = held.get(name)
            if isinstance(value, Missing) or not _differ(name, value, expected):
                continue
            old = before.get(name)
            if old is not None and old.kernel == value:
                drifts.append(old)
                continue
            drifts.append(Drift(name, expected, value, time.time_ns()))
            from runtime.limits.units import format_value

            words = f"{name.value.replace('_', ' ')} {format_value(name, value)}"
            self._history.mark(ref, f"{words} by somebody else (was {format_value(name, expected)})")
        known.looked = _swept(usage) if usage is not None and not drifts else None
        return self._put(ref, tuple(drifts))

    # inside

    def _differs(self, known: _Known, usage: Usage) -> bool:
        """What the sweep gave is not what is expected, and was not looked into already."""
        for name, value in _expected(known).items():
            swept = getattr(usage, SWEPT[name]) if name in SWEPT else Missing.NOT_SAMPLED
            if _differ(name, swept, value):
                return known.looked != _swept(usage)
        return False

    def _put(self, ref: ContainerRef, drifts: tuple[Drift, ...]) -> bool:
        if drifts == self.found.get(ref, ()):
            return False
        rest = {key: value for key, value in self.found.items() if key != ref}
        self.found = {**rest, ref: drifts} if drifts else rest
        return True

    def _drop(self, ref: ContainerRef) -> None:
        self._known.pop(ref, None)
        self._put(ref, ())


def _expected(known: _Known) -> dict[LimitName, Value]:
    return {**(known.record or {}), **known.ours}


def _swept(usage: Usage) -> object:
    return tuple(getattr(usage, name) for name in SWEPT.values())


def _differ(name: LimitName, held: Value | Missing, expected: Value) -> bool:
    """Not the same, rounding apart; of two lists of rates neither has one that the other has not."""
    from runtime.limits import same  # with all that reads limits: a command that only lists does without

    if isinstance(held, Missing):
        return False
    return same(name, held, expected) is None or (isinstance(held, tuple) and same(name, expected, held) is None)
