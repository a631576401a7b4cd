"""Who hurts whom, kept over the frames: windows, thresholds that do not flicker, probes. No clock but the frames'."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from operator import is_
from typing import Final, NamedTuple

from collectors.attribution import cpu, io, memory, network, tasks
from collectors.attribution.cpu import DIFFUSE, MAX_SUSPECTS
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
    Accused,
    FrameWindow,
    Key,
    Pair,
    Wait,
    WaitWindow,
)
from collectors.sampling.frame import Frame, Usage
from runtime.model import ContainerRef, Missing, Ref

WINDOW_S: Final = 8.0
SUSPECTED_SHARE: Final = 0.05  # of time that a victim loses by one suspect, from which on it is one
STRONG_SHARE: Final = 0.15
KEEP_FACTOR: Final = 0.6  # of these, below which what is shown is shown no more
MIN_PART_SHARE: Final = 0.15  # of what the victim waits for: who holds less is one of many
MIN_DIFFUSE_SHARE: Final = 0.25  # of what the victim waits for, that many hold together
PROBE_VALID_S: Final = 60.0
REMADE_S: Final = 2.0  # after which evidence is made anew, with the figures of then
REMADE_NS: Final = int(REMADE_S * NS_PER_S)
UNCHANGED_SHARE: Final = 0.01  # of time, by which a wait or a score may move until then


class _Detector(NamedTuple):
    """How one resource is judged: the waits of a frame, the figures of evidence, and what a cap would give."""

    waits: Callable[[Scan, FrameWindow], Iterable[Wait]]
    about_victim: Callable[[FrameWindow, ContainerRef, str], Iterable[Figure]]
    about_suspect: Callable[[FrameWindow, Pair], Iterable[Figure]]
    shortfall: Callable[[FrameWindow, ContainerRef, float], float]
    gain: Callable[[FrameWindow, Pair], Gain | None]


DETECTORS: Final[Mapping[Resource, _Detector]] = {
    Resource.CPU: _Detector(cpu.waits, cpu.about_victim, cpu.about_suspect, cpu.shortfall, cpu.gain),
    Resource.MEMORY: _Detector(memory.waits, memory.about_victim, memory.about_suspect, memory.shortfall, memory.gain),
    Resource.IO: _Detector(io.waits, io.about_victim, io.about_suspect, io.shortfall, io.gain),
    Resource.NETWORK: _Detector(
        network.waits, network.about_victim, network.about_suspect, network.shortfall, network.gain
    ),
    Resource.TASKS: _Detector(tasks.waits, tasks.about_victim, tasks.about_suspect, tasks.shortfall, tasks.gain),
}


NO_HOLDS: Final[Mapping[Key, float]] = {}


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
        self._remake = False  # a probe was made, or is no more valid
        self._suspects: dict[Key, Suspect] = {}
        self._figures: dict[tuple[Resource, Key], tuple[Figure, ...]] = {}  # about suspects, of the latest frame
        self.latest: Attribution = NO_ATTRIBUTION

    def take(self, frame: Frame) -> Attribution:
        """Take up the next frame; one that is no newer than the latest changes nothing."""
        frames = self._frames.frames
        if frames and frame.at_ns <= frames[-1].at_ns:
            return self.latest
        if frames and frame.at_ns - frames[-1].at_ns > 2 * self._window_s * NS_PER_S:
            self._begin_anew()
        gone = _gone(frames[-1].usages, frame.usages) if frames else ()
        scan = self._scanner.scan(frame)
        self._frames.add(frame, frozenset(scan.restarted))
        self._forget(scan, gone)
        for resource, detector in DETECTORS.items():
            self._take_waits(self._windows[resource], detector.waits(scan, self._frames), scan)
        remake, self._remake = self._remake, False
        self._figures.clear()
        if len(self._suspects) > 2 * len(frame.usages) + MAX_SUSPECTS:
            self._suspects.clear()
        found: dict[Ref, list[Evidence]] = {}
        for resource, windows in self._windows.items():
            for victim, window in windows.items():
                if evidence := list(self._evidence(resource, victim, window, remake)):
                    found.setdefault(victim, []).extend(evidence)
        self.latest = Attribution(
            frame.at_ns,
            {victim: tuple(sorted(evidence, key=_rank)) for victim, evidence in found.items()},
        )
        return self.latest

    def probed(self, victim: Ref, suspect: Suspect, resource: Resource, confirmed: bool) -> None:
        """Note what a probe has shown, for `PROBE_VALID_S`."""
        self._probes[victim, suspect, resource] = (confirmed, self.latest.at_ns + int(PROBE_VALID_S * NS_PER_S))
        self._remake = True

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

    def _forget(self, scan: Scan, gone: Collection[Ref]) -> None:
        """Forget who is gone, who has restarted, and probes that are too old."""
        usages, at_ns = scan.frame.usages, scan.frame.at_ns
        oldest_ns = at_ns - int(self._window_s * NS_PER_S) + 1
        forgotten = scan.restarted.union(gone)
        for windows in self._windows.values():
            if forgotten:
                for victim in forgotten.intersection(windows):
                    assert isinstance(victim, ContainerRef)
                    del windows[victim]
                for window in windows.values():
                    for key in forgotten.intersection(window.held):
                        assert isinstance(key, ContainerRef)
                        window.acquit(key)
            for window in windows.values():
                window.forget(oldest_ns)
        for pair in [pair for pair, probe in tuple(self._probes.items()) if probe[1] <= at_ns or pair[0] not in usages]:
            del self._probes[pair]
            self._remake = True

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
            window.add(at_ns, seconds, Wait(victim, 0.0, NO_HOLDS))
            if window.over(at_ns):
                del windows[victim]

    # what is said

    def _evidence(
        self, resource: Resource, victim: ContainerRef, window: WaitWindow, remake: bool
    ) -> Iterator[Evidence]:
        """The evidence about a victim on one resource. One that has hardly changed stays as it is for `REMADE_S`."""
        at_ns, sustained = self._frames.latest.at_ns, window.sustained(self._window_s)
        if window.seconds <= 0.0 or not (window.shown or sustained):
            return
        wait = min(1.0, window.waited / window.seconds)
        shown: dict[Key, Accused] = {}
        about: tuple[tuple[Figure, ...], float] | None = None
        for key, held, before in _parts(window):
            if before is None:
                if held < SUSPECTED_SHARE or not sustained:
                    continue
            elif held < SUSPECTED_SHARE * KEEP_FACTOR:
                continue
            elif not remake and _is_fresh(before, held, wait, at_ns):
                shown[key] = before
                yield before.evidence
                continue
            if about is None:
                detector = DETECTORS[resource]
                own = tuple(detector.about_victim(self._frames, victim, window.device))
                about = own, detector.shortfall(self._frames, victim, wait)
            pair = Pair(victim, key, window.device, about[1])
            evidence = self._made(resource, pair, held, wait=wait, own=about[0], before=before)
            shown[key] = Accused(evidence, at_ns)
            yield evidence
        window.shown = shown

    def _made(
        self,
        resource: Resource,
        pair: Pair,
        held: float,
        *,
        wait: float,
        own: tuple[Figure, ...],
        before: Accused | None,
    ) -> Evidence:
        victim, key, device, _ = pair
        suspect = self._suspects.get(key)
        if suspect is None:
            suspect = Suspect(SuspectKind.CONTAINER, key) if isinstance(key, ContainerRef) else key
            self._suspects[key] = suspect
        figures = self._figures.get((resource, key)) if suspect.kind in CONTAINABLE else None
        if figures is None:
            figures = self._figures[resource, key] = tuple(DETECTORS[resource].about_suspect(self._frames, pair))
        return Evidence(
            victim,
            suspect,
            resource,
            held,
            wait=wait,
            share=min(1.0, held / wait),
            confidence=self._confidence(victim, suspect, resource, held, before),
            since_ns=before.evidence.since_ns if before is not None else self._frames.latest.at_ns,
            device=device,
            figures=own + figures,
            gain=DETECTORS[resource].gain(self._frames, pair),
        )

    def _confidence(
        self, victim: Ref, suspect: Suspect, resource: Resource, held: float, before: Accused | None
    ) -> Confidence:
        if self._probes:
            probe = self._probes.get((victim, suspect, resource))
            if probe is not None:
                return Confidence.CONFIRMED if probe[0] else Confidence.CLEARED
        was_strong = before is not None and before.evidence.confidence is not Confidence.SUSPECTED
        strong = held >= STRONG_SHARE * (KEEP_FACTOR if was_strong else 1.0)
        return Confidence.STRONG if strong else Confidence.SUSPECTED


def _gone(before: Mapping[Ref, Usage], now: Mapping[Ref, Usage]) -> Collection[Ref]:
    """Who is there no more; mostly the same refs come in the same order, which is compared without hashing them."""
    if len(before) == len(now) and all(map(is_, before, now)):
        return ()
    return before.keys() - now.keys()


def _is_fresh(shown: Accused, held: float, wait: float, at_ns: int) -> bool:
    evidence = shown.evidence
    return (
        at_ns - shown.made_ns < REMADE_NS
        and -UNCHANGED_SHARE < evidence.score - held < UNCHANGED_SHARE
        and -UNCHANGED_SHARE < evidence.wait - wait < UNCHANGED_SHARE
    )


def _parts(window: WaitWindow) -> list[tuple[Key, float, Accused | None]]:
    """Who holds enough of a wait to be named: the share of time, and the evidence that is shown already.

    Those who hold little of it are one part, `DIFFUSE`.
    """
    seconds, shown, diffuse = window.seconds, window.shown, window.diffuse
    least = MIN_PART_SHARE * window.waited
    parts: list[tuple[Key, float, Accused | None]] = []
    for key, held in window.held.items():
        before = shown.get(key) if shown else None
        if held >= least or (before is not None and held >= least * KEEP_FACTOR):
            parts.append((key, held / seconds, before))
        elif isinstance(key, ContainerRef) or key.kind in CONTAINABLE:
            diffuse += held
    least = MIN_DIFFUSE_SHARE * window.waited
    if diffuse >= least * KEEP_FACTOR:
        before = shown.get(DIFFUSE)
        if before is not None or diffuse >= least:
            parts.append((DIFFUSE, diffuse / seconds, before))
    return parts


def _rank(evidence: Evidence) -> tuple[bool, float]:
    """The strongest first, those that a probe has cleared last."""
    return evidence.confidence is Confidence.CLEARED, -evidence.score
