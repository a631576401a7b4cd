"""Who hurts whom, kept over the frames: windows, thresholds that do not flicker, probes. No clock but the frames'."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from collectors.attribution import cpu, io, memory, network, tasks
from collectors.attribution.cpu import DIFFUSE
from collectors.attribution.evidence import (
    CONTAINABLE,
    NO_ATTRIBUTION,
    Attribution,
    Confidence,
    Evidence,
    Figure,
    Gain,
    Resource,
    Suspect,
    SuspectKind,
)
from collectors.attribution.scan import FrameScanner, Scan
from collectors.attribution.window import (
    NS_PER_S,
    WAIT_FLOOR_SHARE,
    Accused,
    FrameWindow,
    Key,
    Pair,
    Wait,
    WaitWindow,
)
from collectors.sampling.frame import Frame
from runtime.model import ContainerRef, Missing, Ref

WINDOW_S: Final = 8.0
SUSPECTED_SHARE: Final = 0.05  # of time that a victim loses by one suspect, from which on it is one
STRONG_SHARE: Final = 0.15
KEEP_FACTOR: Final = 0.6  # of these, below which what is shown is shown no more
MIN_PART_SHARE: Final = 0.15  # of what the victim waits for: who holds less is one of many
MIN_DIFFUSE_SHARE: Final = 0.25  # of what the victim waits for, that many hold together
PROBE_VALID_S: Final = 60.0


class _Detector(NamedTuple):
    """How one resource is judged: the waits of a frame, the figures of evidence, and what a cap would give."""

    waits: Callable[[Scan, FrameWindow], Iterable[Wait]]
    figures: Callable[[FrameWindow, Pair], Iterable[Figure]]
    gain: Callable[[FrameWindow, Pair], Gain | None]


DETECTORS: Final[Mapping[Resource, _Detector]] = {
    Resource.CPU: _Detector(cpu.waits, cpu.figures, cpu.gain),
    Resource.MEMORY: _Detector(memory.waits, memory.figures, memory.gain),
    Resource.IO: _Detector(io.waits, io.figures, io.gain),
    Resource.NETWORK: _Detector(network.waits, network.figures, network.gain),
    Resource.TASKS: _Detector(tasks.waits, tasks.figures, tasks.gain),
}


class Attributor:
    """Takes every frame and says who hurts whom among the containers of this machine.

    A container that restarts begins anew, as a victim and as a suspect. After a gap that is longer than the window all
    begins anew.
    """

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._frames = FrameWindow(window_s)
        self._scanner = FrameScanner()
        self._windows: dict[Resource, dict[ContainerRef, WaitWindow]] = {resource: {} for resource in Resource}
        self._probes: dict[tuple[Ref, Suspect, Resource], tuple[bool, int]] = {}
        self.latest: Attribution = NO_ATTRIBUTION

    def take(self, frame: Frame) -> Attribution:
        """Take up the next frame; one that is no newer than the latest changes nothing."""
        frames = self._frames.frames
        if frames and frame.at_ns <= frames[-1].at_ns:
            return self.latest
        if frames and frame.at_ns - frames[-1].at_ns > 2 * self._window_s * NS_PER_S:
            self._begin_anew()
        scan = self._scanner.scan(frame)
        self._frames.add(frame, frozenset(scan.restarted))
        self._forget(scan)
        for resource, detector in DETECTORS.items():
            self._take_waits(self._windows[resource], detector.waits(scan, self._frames), scan)
        found: dict[Ref, list[Evidence]] = {}
        for resource, windows in self._windows.items():
            for victim, window in windows.items():
                if evidence := list(self._evidence(resource, victim, window, frame.at_ns)):
                    found.setdefault(victim, []).extend(evidence)
        self.latest = Attribution(
            frame.at_ns,
            {victim: tuple(sorted(evidence, key=_rank)) for victim, evidence in found.items()},
        )
        return self.latest

    def probed(self, victim: Ref, suspect: Suspect, resource: Resource, confirmed: bool) -> None:
        """Note what a probe has shown, for `PROBE_VALID_S`."""
        self._probes[victim, suspect, resource] = (confirmed, self.latest.at_ns + int(PROBE_VALID_S * NS_PER_S))

    def explain_slow(self, victim: Ref) -> tuple[Evidence, ...]:
        """The evidence about a victim that is known to be slow.

        Where there is none, and all counters of stalls could be read, what slows it is not visible to them. That can
        only be said of a victim whose slowness somebody else has measured.
        """
        evidence = self.latest.by_victim.get(victim, ())
        if evidence or not self._frames.frames:
            return evidence
        usage = self._frames.latest.usages.get(victim)
        if usage is None or isinstance(usage.waiting, Missing):
            return ()
        stalls = [usage.pressure[name].some for name in ("cpu", "memory", "io") if name in usage.pressure]
        if len(stalls) < 3 or any(isinstance(stall, Missing) or stall >= SUSPECTED_SHARE for stall in stalls):
            return ()
        nobody = Suspect(SuspectKind.INVISIBLE)
        at_ns = self.latest.at_ns
        sure = Confidence.SUSPECTED
        return (Evidence(victim, nobody, Resource.CPU, 0.0, wait=0.0, share=0.0, confidence=sure, since_ns=at_ns),)

    # what is kept

    def _begin_anew(self) -> None:
        self._frames.clear()
        for windows in self._windows.values():
            windows.clear()

    def _forget(self, scan: Scan) -> None:
        """Forget who is gone, who has restarted, and probes that are too old."""
        usages, restarted, at_ns = scan.frame.usages, scan.restarted, scan.frame.at_ns
        oldest_ns = at_ns - int(self._window_s * NS_PER_S)
        for windows in self._windows.values():
            for victim in [ref for ref in windows if ref not in usages or ref in restarted]:
                del windows[victim]
            for window in windows.values():
                window.forget(oldest_ns + 1)
                for key in [key for key in window.held if _is_gone(key, scan)]:
                    window.acquit(key)
        if self._probes:
            self._probes = {
                pair: probe for pair, probe in self._probes.items() if probe[1] > at_ns and pair[0] in usages
            }

    @staticmethod
    def _take_waits(windows: dict[ContainerRef, WaitWindow], waits: Iterable[Wait], scan: Scan) -> None:
        at_ns, seconds = scan.frame.at_ns, scan.seconds
        quiet = set(windows)
        for wait in waits:
            quiet.discard(wait.victim)
            window = windows.get(wait.victim)
            if window is None:
                window = windows[wait.victim] = WaitWindow()
            window.add(at_ns, seconds, wait)
        for victim in quiet:
            window = windows[victim]
            window.add(at_ns, seconds, Wait(victim, 0.0, {}))
            if window.over(at_ns):
                del windows[victim]

    # what is said

    def _evidence(self, resource: Resource, victim: ContainerRef, window: WaitWindow, at_ns: int) -> Iterator[Evidence]:
        if window.seconds <= 0.0 or not (window.shown or window.sustained(self._window_s)):
            return
        wait = min(1.0, window.waited / window.seconds)
        if wait < WAIT_FLOOR_SHARE:
            window.shown.clear()
            return
        shown: dict[Key, Accused] = {}
        sustained = window.sustained(self._window_s)
        for key, held in _parts(window, wait):
            before = window.shown.get(key)
            keep = KEEP_FACTOR if before else 1.0
            if held < SUSPECTED_SHARE * keep or held < _least_part(key) * keep * wait or not (before or sustained):
                continue
            strong = held >= STRONG_SHARE * (KEEP_FACTOR if before and before.strong else 1.0)
            shown[key] = now = Accused(before.since_ns if before else at_ns, strong)
            yield self._made(resource, Pair(victim, key, wait, held, window.device), now)
        window.shown = shown

    def _made(self, resource: Resource, pair: Pair, shown: Accused) -> Evidence:
        detector = DETECTORS[resource]
        key = pair.suspect
        suspect = Suspect(SuspectKind.CONTAINER, key) if isinstance(key, ContainerRef) else key
        confidence = Confidence.STRONG if shown.strong else Confidence.SUSPECTED
        probe = self._probes.get((pair.victim, suspect, resource))
        if probe is not None:
            confidence = Confidence.CONFIRMED if probe[0] else Confidence.CLEARED
        return Evidence(
            pair.victim,
            suspect,
            resource,
            pair.held,
            wait=pair.wait,
            share=min(1.0, pair.held / pair.wait),
            confidence=confidence,
            since_ns=shown.since_ns,
            device=pair.device,
            figures=tuple(detector.figures(self._frames, pair)),
            gain=detector.gain(self._frames, pair),
        )


def _is_gone(key: Key, scan: Scan) -> bool:
    return isinstance(key, ContainerRef) and (key in scan.restarted or key not in scan.frame.usages)


def _parts(window: WaitWindow, wait: float) -> list[tuple[Key, float]]:
    """What each suspect holds of a wait, as shares of time; those who hold little of it are one part, `DIFFUSE`."""
    seconds = window.seconds
    parts: list[tuple[Key, float]] = []
    diffuse = window.held.get(DIFFUSE, 0.0) / seconds
    for key, held in window.held.items():
        if key == DIFFUSE:
            continue
        share = held / seconds
        least = _least_part(key) * (KEEP_FACTOR if key in window.shown else 1.0)
        if (isinstance(key, ContainerRef) or key.kind in CONTAINABLE) and share < least * wait:
            diffuse += share
        else:
            parts.append((key, share))
    if diffuse:
        parts.append((DIFFUSE, diffuse))
    return parts


def _least_part(key: Key) -> float:
    """The part of a wait from which on somebody is named."""
    return MIN_DIFFUSE_SHARE if key == DIFFUSE else MIN_PART_SHARE


def _rank(evidence: Evidence) -> tuple[bool, float]:
    """The strongest first, those that a probe has cleared last."""
    return evidence.confidence is Confidence.CLEARED, -evidence.score
