"""Annotations on the time axis of the graphs: what was done to a container, and what happened to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from collectors.history.annotation import AnnotatedLimit, AnnotationKind
from collectors.history.rings import History
from collectors.sampling.frame import Frame
from runtime.model import Event, EventKind, LimitChange, LimitOutcome, Missing, Ref, Verdict

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

    def event(self, event: Event) -> None:
        """Annotate an engine's event, if its kind is shown on graphs."""
        kind = _KINDS.get(event.kind)
        if kind is not None:
            self._once(event.ref, kind)

    def expect(self, ref: Ref) -> None:
        """Before a change of limits from here: ignore the engine's event about it, since `outcome` has the values."""
        self._note(ref, AnnotationKind.LIMITS_CHANGED)

    def outcome(self, outcome: LimitOutcome) -> None:
        """Annotate the limits that the kernel holds after a change."""
        limits = [
            AnnotatedLimit(field.name, field.kernel)
            for field in outcome.fields
            if field.verdict in (Verdict.APPLIED, Verdict.ROUNDED) and not isinstance(field.kernel, Missing)
        ]
        if limits:
            self._history.annotate(outcome.ref, AnnotationKind.LIMITS_SET, *limits)
            self.expect(outcome.ref)

    def reverted(self, ref: Ref, limits: LimitChange) -> None:
        """Annotate the limits that the kernel holds again after a lease has ended."""
        self._history.annotate(
            ref, AnnotationKind.LIMITS_SET, *(AnnotatedLimit(name, value) for name, value in limits.items())
        )

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
