"""What is done with every frame, in order: one observer that fails costs that frame, and no other observer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from collectors.history.rings import History
from collectors.sampling.frame import Frame
from tui.core.problem import Problem, ProblemKind

log = logging.getLogger(__name__)

MAX_FAILURES: Final = 3  # in a row, after which an observer is paused
PAUSE_S: Final = 60.0  # after which it is tried again


class FrameObserver(Protocol):
    """Is shown every frame on the event loop, and must be quick."""

    @property
    def name(self) -> str:
        """Its id in a problem; `tui.present.problem_text` has the words."""
        ...

    def observe(self, previous: Frame | None, frame: Frame) -> Frame | None:
        """Look at a frame and at the one before it; the result takes the frame's place for those that come after."""
        ...


@dataclass(slots=True)
class _Standing:
    """How an observer has done; `paused_until` is a monotonic time, 0 while it is not paused."""

    failures: int = 0
    paused_until: float = 0.0
    problem: Problem | None = None


class FrameObservers:
    """Calls the observers in order.

    Attributes:
        latest: the last frame as the observers left it, None before the first.
    """

    def __init__(self, observers: Sequence[FrameObserver], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.latest: Frame | None = None
        self._observers = tuple((observer, _Standing()) for observer in observers)
        self._clock = clock

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Of the observers that are paused, or were and have not yet done better."""
        return tuple(standing.problem for _, standing in self._observers if standing.problem is not None)

    def take(self, frame: Frame) -> Frame:
        """Show a frame to every observer that is not paused; the frame as they left it."""
        previous = self.latest
        for observer, standing in self._observers:
            if standing.paused_until > self._clock():
                continue
            try:
                frame = observer.observe(previous, frame) or frame
            except Exception as error:  # of whatever kind: the others and the next frame go on
                log.exception("frame %d: %s", frame.seq, observer.name)
                self._failed(observer.name, standing, error)
            else:
                standing.failures, standing.paused_until, standing.problem = 0, 0.0, None
        self.latest = frame
        return frame

    def _failed(self, name: str, standing: _Standing, error: Exception) -> None:
        standing.failures += 1
        if standing.failures >= MAX_FAILURES:
            standing.paused_until = self._clock() + PAUSE_S
            standing.problem = Problem(ProblemKind.OBSERVER, subject=name, cause=repr(error))


class HistoryObserver:
    """Puts each frame into the history."""

    name = "history"

    def __init__(self, history: History) -> None:
        self._history = history

    def observe(self, previous: Frame | None, frame: Frame) -> None:
        """One more column of every graph."""
        self._history.push(frame)


class FramePublisher:
    """Hands each frame to whoever shows it; the last of the observers, so that what it hands out is complete."""

    name = "screen"

    def __init__(self, publish: Callable[[Frame], None]) -> None:
        self._publish = publish

    def observe(self, previous: Frame | None, frame: Frame) -> None:
        """There is a new frame."""
        self._publish(frame)
