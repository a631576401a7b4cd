"""From the frames of a run to labelled pairs, for attribution and for every detector beside it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from collectors.attribution.attributor import Attributor
from collectors.attribution.evidence import Attribution, Confidence, SuspectKind
from collectors.sampling.frame import Frame, Usage
from runtime.model import Missing, Ref
from tests.eval import baselines
from tests.eval.metrics import Pair
from tests.eval.observation import Observation

ATTRIBUTION: Final = "attribution"
OUTSIDE: Final = "outside"  # the suspect that stands for all programs of the host
LATE_S: Final = 1.5  # after the end of the harm, in which a frame still covers some of it


class Detector(Protocol):
    """Takes the frames of a run in order; gives the scores of pairs. One at the threshold or above is named."""

    threshold: float

    def take(self, frame: Frame) -> Mapping[tuple[str, str], float]: ...


class AttributionDetector:
    """The program's own attribution. A pair is named when it is shown: with any confidence but "cleared"."""

    threshold = 0.0  # its own are inside: what is below them is not in what it gives

    def __init__(self, names: Mapping[Ref, str]) -> None:
        self._names = names
        self._attributor = Attributor()
        self.latest = Attribution()

    def take(self, frame: Frame) -> Mapping[tuple[str, str], float]:
        self.latest = self._attributor.take(frame)
        found: dict[tuple[str, str], float] = {}
        for victim, evidence in self.latest.by_victim.items():
            for each in evidence:
                suspect = self._suspect(each.suspect.kind, each.suspect.ref)
                if suspect is not None and each.confidence is not Confidence.CLEARED and victim in self._names:
                    pair = (self._names[victim], suspect)
                    found[pair] = max(found.get(pair, 0.0), each.score)
        return found

    def _suspect(self, kind: SuspectKind, ref: Ref | None) -> str | None:
        if kind is SuspectKind.CONTAINER and ref is not None:
            return self._names.get(ref)
        return OUTSIDE if kind in (SuspectKind.PROCESS, SuspectKind.UNIT) else None


class BaselineDetector:
    """A simple detector with its threshold."""

    def __init__(self, names: Mapping[Ref, str], score: baselines.Score, threshold: float) -> None:
        self._names = names
        self._baseline = baselines.Baseline(score)
        self.threshold = threshold

    def take(self, frame: Frame) -> Mapping[tuple[str, str], float]:
        return {
            (self._names[victim], self._names[suspect]): score
            for (victim, suspect), score in self._baseline.take(frame).items()
            if victim in self._names and suspect in self._names
        }


def detectors(names: Mapping[Ref, str]) -> dict[str, Callable[[], Detector]]:
    """All detectors by name, each made anew for a run."""
    made: dict[str, Callable[[], Detector]] = {ATTRIBUTION: lambda: AttributionDetector(names)}
    for name, score in baselines.SCORES.items():
        made[name] = lambda score=score, name=name: BaselineDetector(names, score, baselines.THRESHOLDS[name])
    return made


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the strongest evidence about a victim was at the end of the harm, and whether that may be."""

    scenario: str
    repeat: int
    victim: str
    kind: str
    right: bool


def judged(seen: Observation, detector: Detector) -> list[Pair]:
    """The pairs of every victim with every other container, and with the host's programs where the load is one."""
    scenario = seen.scenario
    start = seen.harm_ns + int(scenario.judged_from_s * 1e9)
    first: dict[tuple[str, str], int] = {}
    highest: dict[tuple[str, str], float] = {}
    for frame in seen.frames:
        scores = detector.take(frame)
        if not start < frame.at_ns <= seen.end_ns + LATE_S * 1e9:
            continue
        for pair, score in scores.items():
            highest[pair] = max(highest.get(pair, 0.0), score)
            if score >= detector.threshold:
                first.setdefault(pair, frame.at_ns)
    return [
        Pair(
            scenario=scenario.name,
            repeat=seen.repeat,
            victim=victim,
            suspect=suspect,
            culprit=(victim, suspect) in scenario.culprits or suspect == OUTSIDE,
            named=(victim, suspect) in first,
            after_s=(first[victim, suspect] - seen.harm_ns) / 1e9 if (victim, suspect) in first else None,
            wait=wait(seen, victim),
            score=highest.get((victim, suspect), 0.0),
        )
        for victim, suspect in _pairs(seen)
    ]


def _pairs(seen: Observation) -> Iterator[tuple[str, str]]:
    suspects = [*seen.names.values(), *((OUTSIDE,) if seen.outside else ())]
    for victim in seen.scenario.victims:
        yield from ((victim, suspect) for suspect in suspects if suspect != victim)


def wait(seen: Observation, victim: str) -> float:
    """The share of the harm's time that a victim lost: the median over frames of the highest of its stalls."""
    ref = next(ref for ref, name in seen.names.items() if name == victim)
    values = sorted(
        _lost(frame.usages[ref])
        for frame in seen.frames
        if seen.harm_ns + 1e9 < frame.at_ns <= seen.end_ns and ref in frame.usages
    )
    return values[len(values) // 2] if values else 0.0


def _lost(usage: Usage) -> float:
    stalls: list[float | Missing] = [usage.waiting]
    stalls += [usage.pressure[name].some for name in ("memory", "io") if name in usage.pressure]
    return max((value for value in stalls if not isinstance(value, Missing)), default=0.0)


def explained(seen: Observation, detector: AttributionDetector) -> list[Explanation]:
    """The explanations of a run whose victims have an expected one; `detector` takes its frames anew."""
    if not seen.scenario.told:
        return []
    refs = {name: ref for ref, name in seen.names.items()}
    strongest: dict[str, SuspectKind | None] = {}
    for frame in seen.frames:
        detector.take(frame)
        if seen.harm_ns < frame.at_ns <= seen.end_ns:
            for victim in seen.scenario.victims:
                evidence = detector.latest.strongest(refs[victim])
                strongest[victim] = evidence.suspect.kind if evidence is not None else None
    return [
        Explanation(seen.scenario.name, seen.repeat, victim, str(kind), kind in seen.scenario.told)
        for victim, kind in strongest.items()
    ]


def wrongly_named_outside(seen: Observation, detector: Detector) -> int:
    """Victims for whom a program of the host was named in a run in which the load is in containers."""
    if seen.outside:
        return 0
    found: set[str] = set()
    for frame in seen.frames:
        named = detector.take(frame)
        if seen.harm_ns < frame.at_ns <= seen.end_ns:
            found |= {victim for victim, suspect in named if suspect == OUTSIDE and victim in seen.scenario.victims}
    return len(found)
