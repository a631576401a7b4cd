"""The observers of frames, called in order. One that fails misses that frame; the others are not affected."""

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
    """Gets every frame, on the event loop, so it must not block."""

    @property
    def name(self) -> str:
        """Its id in a problem; `tui.present.problem_text` has the words."""
        ...

    def observe(self, previous: Frame | None, frame: Frame) -> Frame | None:
        """Take a frame and the one before it; a frame that is returned replaces it for the observers that follow."""
        ...


@dataclass(slots=True)
class _ObserverState:
    """Failures in a row of an observer; `paused_until` is a monotonic time, 0 while it is not paused."""

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
        self._observers = tuple((observer, _ObserverState()) for observer in observers)
        self._clock = clock

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Of observers that are paused, or have not succeeded since they were."""
        return tuple(state.problem for _, state in self._observers if state.problem is not None)

    def take(self, frame: Frame) -> Frame:
        """Give a frame to every observer that is not paused; the frame as they left it."""
        previous = self.latest
        for observer, state in self._observers:
            if state.paused_until > self._clock():
                continue
            try:
                frame = observer.observe(previous, frame) or frame
            except Exception as error:  # of any kind, so that the other observers and the next frame are not affected
                log.exception("frame %d: %s", frame.seq, observer.name)
                self._failed(observer.name, state, error)
            else:
                state.failures, state.paused_until, state.problem = 0, 0.0, None
        self.latest = frame
        return frame

    def _failed(self, name: str, state: _ObserverState, error: Exception) -> None:
        state.failures += 1
        if state.failures >= MAX_FAILURES:
            state.paused_until = self._clock() + PAUSE_S
            state.problem = Problem(ProblemKind.OBSERVER, subject=name, cause=repr(error))


class HistoryObserver:
    """Adds each frame to the history."""

    name = "history"

    def __init__(self, history: History) -> None:
        self._history = history

    def observe(self, previous: Frame | None, frame: Frame) -> None:
        """Add the frame."""
        self._history.push(frame)


class FramePublisher:
    """Publishes each frame; it is the last observer, so that the frame is complete."""

    name = "screen"

    def __init__(self, publish: Callable[[Frame], None]) -> None:
        self._publish = publish

    def observe(self, previous: Frame | None, frame: Frame) -> None:
        """Publish the frame."""
        self._publish(frame)
