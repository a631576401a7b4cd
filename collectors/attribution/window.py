"""What the last seconds hold: the frames themselves, and of each victim and resource its waits. Pure.

A score is a mean over the window, in which every frame counts by its length. Once more than `BURST_S` was lost without
a break, the mean starts where the wait started. A wait that is shorter, or has been over for `QUIET_S`, accuses nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from collectors.attribution.evidence import Evidence, Suspect
from collectors.sampling.frame import Frame, Usage
from runtime.model import ContainerRef, Missing, Ref, Unlimited

NS_PER_S: Final = 1_000_000_000
RECENT_S: Final = 3.0  # of which figures are the means
RECENT_NS: Final = int(RECENT_S * NS_PER_S)
BURST_S: Final = 1.0  # lost time in one go, up to which nobody is accused
SUSTAINED_SHARE: Final = 0.6  # of the window, in which a victim that loses little must have waited
QUIET_S: Final = 2.0  # without a wait, after which the evidence is over
MIN_OBSERVED_FRAMES: Final = 2  # with a wait, before anybody is accused
WAIT_FLOOR_SHARE: Final = 0.03  # of the interval: a shorter wait is none

Key = ContainerRef | Suspect  # a suspect: a container by its ref, everybody else by the suspect itself
Read = Callable[[Usage], object]


class Wait(NamedTuple):
    """What one victim lost in one frame, as shares of its interval.

    `wait` is all of it, `holds` what each suspect holds of it, and `diffuse` what many hold together.
    """

    victim: ContainerRef
    wait: float
    holds: Mapping[Key, float]
    diffuse: float = 0.0
    device: str = ""


class Pair(NamedTuple):
    """A victim and a suspect. `shortfall`: what the victim would use more if it did not wait."""

    victim: ContainerRef
    suspect: Key
    device: str
    shortfall: float


def number(value: float | Unlimited | Missing | object) -> float:
    """A value that is a number, else 0.0, which says nothing about anybody."""
    return value if isinstance(value, float) else float(value) if type(value) is int else 0.0


class FrameWindow:
    """The frames of the last seconds, and since when each container is measured without a restart."""

    def __init__(self, window_s: float) -> None:
        self._window_ns = int(window_s * NS_PER_S)
        self.frames: deque[Frame] = deque()
        self._restarted: dict[Ref, int] = {}
        self._recent: list[Frame] = []
        self._means: dict[str, dict[Ref, float | None]] = {}

    def add(self, frame: Frame, restarted: frozenset[Ref]) -> None:
        """Take up a frame; `restarted` are containers whose counters began anew at it."""
        self.frames.append(frame)
        while len(self.frames) > 1 and self.frames[0].at_ns <= frame.at_ns - self._window_ns:
            self.frames.popleft()
        oldest = self.frames[0].at_ns
        if restarted or self._restarted:
            self._restarted |= dict.fromkeys(restarted, frame.at_ns)
            self._restarted = {ref: at for ref, at in self._restarted.items() if at >= oldest}
        recent_ns = frame.at_ns - RECENT_NS
        self._recent = [each for each in self.frames if each.at_ns > recent_ns]
        self._means = {}

    def clear(self) -> None:
        """Begin anew, after a gap."""
        self.frames.clear()
        self._restarted.clear()

    @property
    def latest(self) -> Frame:
        """The newest frame; there is one whenever a detector is asked."""
        return self.frames[-1]

    def mean(self, ref: Ref, name: str, read: Read) -> float | None:
        """The mean of a value over the last `RECENT_S`, None where no frame has it. `name` tells the reads apart."""
        means = self._means.get(name)
        if means is None:
            means = self._means[name] = {}
        elif ref in means:
            return means[ref]
        since = self._restarted.get(ref, 0)
        total = seconds = 0.0
        for frame in self._recent:
            usage = frame.usages.get(ref)
            if usage is None or frame.at_ns < since:
                continue
            value = read(usage)
            if isinstance(value, (int, float)):
                total += value * frame.interval_ns
                seconds += frame.interval_ns
        result = means[ref] = total / seconds if seconds else None
        return result

    def first(self, ref: Ref, read: Read) -> tuple[int, float] | None:
        """The oldest value in the window, with the time of its frame."""
        since = self._restarted.get(ref, 0)
        for frame in self.frames:
            usage = frame.usages.get(ref) if frame.at_ns >= since else None
            value = None if usage is None else read(usage)
            if isinstance(value, (int, float)):
                return frame.at_ns, float(value)
        return None

    def growth(self, ref: Ref, read: Read) -> float:
        """By how much a gauge has grown a second, over the window; 0.0 where it cannot be told."""
        first = self.first(ref, read)
        usage = self.latest.usages.get(ref)
        value = None if usage is None else read(usage)
        if first is None or not isinstance(value, (int, float)) or first[0] >= self.latest.at_ns:
            return 0.0
        return (value - first[1]) / ((self.latest.at_ns - first[0]) / NS_PER_S)


class Accused(NamedTuple):
    """A suspect that is shown: the evidence, and when it was made."""

    evidence: Evidence
    made_ns: int


class WaitWindow:
    """The waits of one victim for one resource."""

    __slots__ = (
        *("_lost_s", "_observed", "_streak_ns", "_supported_s", "_ticks", "_waited_ns"),
        *("device", "diffuse", "held", "seconds", "shown", "waited"),
    )

    def __init__(self) -> None:
        self._ticks: deque[tuple[int, float, Wait]] = deque()
        self.seconds = 0.0
        self.waited = 0.0  # seconds, by all suspects
        self.held: dict[Key, float] = {}  # seconds
        self.diffuse = 0.0  # seconds, by many together
        self.device = ""
        self.shown: dict[Key, Accused] = {}
        self._supported_s = self._lost_s = 0.0
        self._observed = 0
        self._streak_ns = self._waited_ns = 0

    def add(self, at_ns: int, seconds: float, wait: Wait) -> None:
        """The wait of one frame that ended at `at_ns`; one of 0.0 belongs to the window too."""
        self._ticks.append((at_ns, seconds, wait))
        self.seconds += seconds
        self.waited += wait.wait * seconds
        self.diffuse += wait.diffuse * seconds
        held = self.held
        for key, share in wait.holds.items():
            held[key] = held.get(key, 0.0) + share * seconds
        if wait.wait < WAIT_FLOOR_SHARE:
            self._lost_s = 0.0
            return
        self.device = wait.device
        self._supported_s += seconds
        self._observed += 1
        self._waited_ns = at_ns
        if not self._lost_s:
            self._streak_ns = at_ns
        self._lost_s += wait.wait * seconds
        if self._lost_s > BURST_S:
            self.forget(self._streak_ns)

    def forget(self, before_ns: int) -> None:
        """Drop what ended before."""
        ticks, held = self._ticks, self.held
        while ticks and ticks[0][0] < before_ns:
            _, seconds, wait = ticks.popleft()
            self.seconds -= seconds
            self.waited -= wait.wait * seconds
            self.diffuse -= wait.diffuse * seconds
            for key, share in wait.holds.items():
                rest = held.get(key, 0.0) - share * seconds
                if rest > 1e-9:
                    held[key] = rest
                else:
                    held.pop(key, None)
            if wait.wait >= WAIT_FLOOR_SHARE:
                self._supported_s -= seconds
                self._observed -= 1

    def acquit(self, key: Key) -> None:
        """Drop a suspect that is gone or has begun anew."""
        self.held.pop(key, None)
        self.shown.pop(key, None)
        self._ticks = deque(
            (at, seconds, wait._replace(holds={other: share for other, share in wait.holds.items() if other != key}))
            for at, seconds, wait in self._ticks
        )

    def sustained(self, window_s: float) -> bool:
        """The wait is more than a burst."""
        enough = self._lost_s > BURST_S or self._supported_s >= SUSTAINED_SHARE * window_s
        return enough and self._observed >= MIN_OBSERVED_FRAMES

    def over(self, at_ns: int) -> bool:
        """There has been no wait for so long that nothing is left of it."""
        return at_ns - self._waited_ns >= QUIET_S * NS_PER_S
