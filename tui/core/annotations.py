"""Annotations on the time axis of the graphs: what was done to a container, and what happened to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from collectors.history.annotation import AnnotatedLimit, AnnotationKind
from collectors.history.rings import History
from collectors.sampling.frame import Frame
from runtime.containment.lease import Lease, LeaseState
from runtime.model import Event, EventKind, LimitOutcome, Missing, Ref, Verdict

SAME_S: Final = 3.0  # within which an engine's event and a counter for the same fact make one annotation
UNLISTED_S: Final = 10.0  # for which what is noted about something that is not listed (yet, or any more) is kept

_KINDS: Final = {
    EventKind.STARTED: AnnotationKind.STARTED,
    EventKind.DIED: AnnotationKind.ENDED,
    EventKind.PAUSED: AnnotationKind.PAUSED,
    EventKind.UNPAUSED: AnnotationKind.RESUMED,
    EventKind.UPDATED: AnnotationKind.LIMITS_CHANGED,
    EventKind.OUTPUT_LIMITED: AnnotationKind.OUTPUT_LIMITED,
    EventKind.OOM: AnnotationKind.OOM_KILL,
}
_LEASE_KINDS: Final = {
    LeaseState.ACTIVE: AnnotationKind.LEASE_TAKEN,
    LeaseState.CONFIRMED: AnnotationKind.LEASE_CONFIRMED,
    LeaseState.REVERTED: AnnotationKind.LEASE_REVERTED,
    LeaseState.CONFLICT: AnnotationKind.LEASE_CONFLICT,
}


class Annotations:
    """Writes annotations into the history, each once although two sources may report it."""

    name = "annotations"

    def __init__(
        self, history: History, listed: Callable[[Ref], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`listed` tells whether a container or group is in the inventory. Events come before and after it is."""
        self._history = history
        self._listed = listed
        self._clock = clock
        self._last: dict[Ref, dict[AnnotationKind, float]] = {}
        self._pruned_at = clock()
        self._leases: dict[str, Lease] | None = None  # by id, None before the first look

    def event(self, event: Event) -> None:
        """Annotate an engine's event, if its kind is shown on graphs."""
        kind = _KINDS.get(event.kind)
        if kind is not None:
            self._once(event.ref, kind)

    def expect(self, ref: Ref) -> None:
        """Before a change of limits from here: ignore the engine's event about it, since `outcome` has the values."""
        self._note(ref, AnnotationKind.LIMITS_CHANGED)

    def outcome(self, outcome: LimitOutcome) -> None:
        """Annotate the limits that the kernel holds after a change; one that keeps what is leased is no new value."""
        leased = [
            lease.change
            for lease in (self._leases or {}).values()
            if lease.ref == outcome.ref and lease.state is LeaseState.ACTIVE
        ]
        limits = [
            AnnotatedLimit(field.name, field.kernel)
            for field in outcome.fields
            if field.verdict in (Verdict.APPLIED, Verdict.ROUNDED)
            and not isinstance(field.kernel, Missing)
            and all(change.get(field.name) != field.kernel for change in leased)
        ]
        if limits:
            self._history.annotate(outcome.ref, AnnotationKind.LIMITS_SET, *limits)
            self.expect(outcome.ref)

    def leases(self, leases: Iterable[Lease]) -> None:
        """Annotate what has become of leases since the last look; those of the first were taken at an unknown time."""
        before, self._leases = self._leases, {lease.id: lease for lease in leases}
        for lease in self._leases.values() if before is not None else ():
            kind, known = _LEASE_KINDS.get(lease.state), (before or {}).get(lease.id)
            if kind is None or (known is not None and known.state is lease.state):
                continue
            change = lease.before if lease.state is LeaseState.REVERTED else lease.change
            limits = [] if lease.state is LeaseState.CONFLICT else [AnnotatedLimit(*each) for each in change.items()]
            self._history.annotate(lease.ref, kind, *limits)

    def observe(self, previous: Frame | None, frame: Frame) -> None:
        """Annotate OOM kills that the kernel has counted between two sweeps."""
        self._prune()
        if previous is None:
            return
        for ref, usage in frame.usages.items():
            last = previous.usages.get(ref)
            if last is None or not isinstance(last.oom_kills, int) or not isinstance(usage.oom_kills, int):
                continue
            if usage.oom_kills > last.oom_kills:
                self._once(ref, AnnotationKind.OOM_KILL)

    def forget(self, ref: Ref) -> None:
        """Drop the history of a container that is gone."""
        self._history.forget(ref)
        self._last.pop(ref, None)

    def _once(self, ref: Ref, kind: AnnotationKind) -> None:
        now = self._clock()
        if now - self._last.get(ref, {}).get(kind, now - SAME_S) >= SAME_S:
            self._history.annotate(ref, kind)
        self._note(ref, kind)

    def _note(self, ref: Ref, kind: AnnotationKind) -> None:
        self._prune()
        self._last.setdefault(ref, {})[kind] = self._clock()

    def _prune(self) -> None:
        """Forget what is not listed, `UNLISTED_S` after the last that was told of it; looked at as often."""
        now = self._clock()
        if now - self._pruned_at < UNLISTED_S:
            return
        self._pruned_at = now
        for ref, kinds in list(self._last.items()):
            if now - max(kinds.values()) >= UNLISTED_S and not self._listed(ref):
                self.forget(ref)
