"""Marks on the time axis of the graphs: what was done to a container, and what happened to it."""

from __future__ import annotations

import time

from collectors.history.rings import History
from collectors.sampling.frame import Frame
from runtime.model import ContainerRef, Event, EventKind, LimitOutcome, Verdict

SAME = 3.0  # seconds in which an engine's event and a counter that tell of the same thing make one mark

_TEXTS = {
    EventKind.STARTED: "started",
    EventKind.DIED: "ended",
    EventKind.PAUSED: "paused",
    EventKind.UNPAUSED: "resumed",
    EventKind.UPDATED: "limits changed",
    EventKind.OOM: "OOM kill",
}


class Marks:
    """Writes marks into the history, each once although it may be told of twice."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._last: dict[tuple[ContainerRef, str], float] = {}

    def event(self, event: Event) -> None:
        """Mark what an engine tells, if it belongs on a graph."""
        text = _TEXTS.get(event.kind)
        if text is not None:
            self._mark(event.ref, text, text)

    def expect(self, ref: ContainerRef) -> None:
        """We are about to change limits: the engine's own event about it is no news, `outcome` will say more."""
        self._last[ref, _TEXTS[EventKind.UPDATED]] = time.monotonic()

    def outcome(self, outcome: LimitOutcome) -> None:
        """Mark the limits that the kernel now holds."""
        held = [f for f in outcome.fields if f.verdict in (Verdict.APPLIED, Verdict.ROUNDED)]
        if held:
            from tui.present.limit_form import shown

            text = ", ".join(f"{f.name.value.replace('_', ' ')} {shown(f.name, f.kernel)}" for f in held)
            self._history.mark(outcome.ref, text)
            self.expect(outcome.ref)

    def frames(self, before: Frame | None, now: Frame) -> None:
        """Mark the OOM kills that the kernel has counted between two sweeps."""
        if before is None:
            return
        for ref, usage in now.usages.items():
            last = before.usages.get(ref)
            if last is None or not isinstance(last.oom_kills, int) or not isinstance(usage.oom_kills, int):
                continue
            if usage.oom_kills > last.oom_kills:
                text = _TEXTS[EventKind.OOM]
                self._mark(ref, text, text)

    def forget(self, ref: ContainerRef) -> None:
        """The container is gone."""
        self._history.forget(ref)
        self._last = {key: at for key, at in self._last.items() if key[0] != ref}

    def _mark(self, ref: ContainerRef, text: str, kind: str) -> None:
        now = time.monotonic()
        if now - self._last.get((ref, kind), now - SAME) >= SAME:
            self._history.mark(ref, text)
        self._last[ref, kind] = now
