"""When somebody is named, and when no more: bursts, thresholds, restarts, probes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from collectors.attribution.attributor import PROBE_VALID_S, Attributor
from collectors.attribution.evidence import Confidence, Resource, Suspect, SuspectKind
from collectors.sampling.frame import Frame, Pressure, Usage
from runtime.model import ContainerRef, Missing
from tests.unit.collectors.attribution.scenes import (
    API,
    BATCH,
    OTHER,
    SECOND_NS,
    Moment,
    constant,
    frames,
    host,
    ref,
    stalls,
    told,
    usage,
)

INTERVALS = pytest.mark.parametrize("interval_s", [0.5, 1.0])
RESTS = usage(cpu=0.1)
THIRD = ref("third")
HOG = Suspect(SuspectKind.CONTAINER, BATCH)


def waiting_at(wait: Callable[[float], float], hog: float = 1.8) -> Callable[[float], Moment]:
    """A victim whose wait is told by the seconds, and a hog that runs while it waits."""

    def moment(at_s: float) -> Moment:
        waits = wait(at_s)
        return host(2.0 if waits else 0.2), {API: usage(cpu=0.2, waiting=waits), BATCH: usage(cpu=hog if waits else 0)}

    return moment


def named_at(moment: Callable[[float], Moment], seconds: float, interval_s: float) -> list[float]:
    """The seconds at which the victim has evidence."""
    attributor = Attributor()
    found = []
    for frame in frames(moment, seconds, interval_s):
        if attributor.take(frame).by_victim.get(API):
            found.append(frame.at_ns / SECOND_NS - 100.0)
    return found


@INTERVALS
def test_a_wait_above_half_is_named_within_three_seconds(interval_s: float) -> None:
    """However the beginning of the harm falls between two frames."""
    for offset_s in (0.05, 0.45, 0.95):

        def begun(at_s: float, offset_s: float = offset_s) -> float:
            there_s = min(interval_s, max(0.0, at_s - 10.0 - offset_s))
            return 0.51 * there_s / interval_s

        assert named_at(waiting_at(begun), 20, interval_s)[0] - 10.0 - offset_s <= 3.0


@INTERVALS
@pytest.mark.parametrize("wait", [0.06, 0.1, 0.3])
def test_a_weaker_wait_is_named_within_eight_seconds(wait: float, interval_s: float) -> None:
    assert named_at(waiting_at(lambda at_s: wait if at_s > 10.0 else 0.0), 30, interval_s)[0] <= 18.0


@INTERVALS
@pytest.mark.parametrize("burst_s", [0.3, 0.9])
def test_bursts_shorter_than_a_second_accuse_nobody(burst_s: float, interval_s: float) -> None:
    """One every five seconds; each falls into one frame, or into two where it is cut in halves."""
    for offset_s in (0.0, burst_s / 2):

        def bursts(at_s: float, offset_s: float = offset_s) -> float:
            end_s = at_s % 5.0 or 5.0
            return max(0.0, min(end_s, offset_s + burst_s) - max(end_s - interval_s, offset_s)) / interval_s

        assert named_at(waiting_at(bursts), 60, interval_s) == []


@INTERVALS
def test_a_hog_that_stops_is_named_no_more(interval_s: float) -> None:
    named = named_at(waiting_at(lambda at_s: 0.6 if at_s <= 10.0 else 0.0), 30, interval_s)
    assert 10.0 in named
    assert named[-1] <= 12.0


def test_evidence_does_not_flicker_around_the_threshold() -> None:
    wavering = named_at(waiting_at(lambda at_s: 0.07 if int(at_s) % 8 < 4 else 0.034), 60, 1.0)
    assert wavering == [float(second) for second in range(int(wavering[0]), 61)]


def test_since_is_when_it_was_first_shown() -> None:
    attributor = Attributor()
    shown: list[int] = []
    for frame in frames(waiting_at(lambda at_s: 0.6), 10):
        shown += [each.since_ns for each in attributor.take(frame).by_victim.get(API, ())]
    assert len(set(shown)) == 1
    assert shown[0] < attributor.latest.at_ns


def test_a_weak_suspect_is_suspected_only() -> None:
    evidence = run(frames(waiting_at(lambda at_s: 0.1), 10)).latest.strongest(API)
    assert evidence is not None
    assert evidence.confidence is Confidence.SUSPECTED


def run(taken: Any, attributor: Attributor | None = None) -> Attributor:
    result = attributor or Attributor()
    for frame in taken:
        result.take(frame)
    return result


# who is gone, who begins anew


def later(usages: Mapping[ContainerRef, Usage], seconds: float, start_s: float) -> list[Frame]:
    return list(frames(constant(host(2.0), usages), seconds, start_s=start_s))


BOTH = {API: usage(cpu=0.2, waiting=0.6), BATCH: usage(cpu=1.8)}


def test_a_suspect_that_is_gone_is_named_no_more() -> None:
    attributor = run(later(BOTH, 10, 100.0))
    attributor.take(later({API: BOTH[API], OTHER: usage(cpu=0.5)}, 1, 110.0)[0])
    assert told(attributor.latest) == []


def test_a_victim_that_is_gone_has_no_evidence() -> None:
    attributor = run(later(BOTH, 10, 100.0))
    attributor.take(later({BATCH: BOTH[BATCH]}, 1, 110.0)[0])
    assert attributor.latest.by_victim == {}
    attributor.take(later(BOTH, 1, 111.0)[0])
    assert attributor.latest.by_victim == {}


@pytest.mark.parametrize("restarted", [API, BATCH])
def test_a_restart_is_a_new_start(restarted: ContainerRef) -> None:
    attributor = run(later(BOTH, 10, 100.0))
    anew = Usage(0, cpu=Missing.NOT_SAMPLED, waiting=Missing.NOT_SAMPLED, pressure=stalls())
    attributor.take(later({**BOTH, restarted: anew}, 1, 110.0)[0])
    assert told(attributor.latest) == []
    run(later(BOTH, 10, 111.0), attributor)
    assert told(attributor.latest) == [("container", "batch")]


def test_a_gap_is_a_new_start() -> None:
    attributor = run(later(BOTH, 10, 100.0))
    attributor.take(later(BOTH, 1, 1000.0)[0])
    assert attributor.latest.by_victim == {}


def test_a_frame_that_comes_twice_counts_once() -> None:
    taken = later(BOTH, 3, 100.0)
    attributor = run(taken)
    before = attributor.latest
    assert attributor.take(taken[1]) is before
    assert attributor.take(taken[2]) is before


def test_a_container_at_rest_keeps_its_usage() -> None:
    """The same object as victim in every frame is one that waits all the time; one that rests costs nothing."""
    assert told(run(later({**BOTH, OTHER: RESTS}, 10, 100.0)).latest) == [("container", "batch")]


# probes


@pytest.mark.parametrize(("confirmed", "confidence"), [(True, Confidence.CONFIRMED), (False, Confidence.CLEARED)])
def test_a_probe_decides_for_a_minute(confirmed: bool, confidence: Confidence) -> None:
    attributor = run(later(BOTH, 10, 100.0))
    attributor.probed(API, HOG, Resource.CPU, confirmed)
    for frame in later(BOTH, PROBE_VALID_S + 10, 110.0):
        evidence = attributor.take(frame).strongest(API)
        assert evidence is not None
        in_time = frame.at_ns < (110 + PROBE_VALID_S) * SECOND_NS
        assert evidence.confidence is (confidence if in_time else Confidence.STRONG)


def test_who_was_cleared_comes_last() -> None:
    usages = {API: BOTH[API], BATCH: usage(cpu=1.2), OTHER: usage(cpu=0.5)}
    attributor = run(later(usages, 10, 100.0))
    attributor.probed(API, HOG, Resource.CPU, False)
    run(later(usages, 1, 110.0), attributor)
    assert [each.suspect.ref for each in attributor.latest.by_victim[API]] == [OTHER, BATCH]


# a victim that somebody knows to be slow


def test_slow_without_any_stall_is_not_visible() -> None:
    attributor = run(later({API: usage(cpu=0.5, waiting=0.01), BATCH: usage(cpu=1.0)}, 10, 100.0))
    assert attributor.latest.by_victim == {}
    (evidence,) = attributor.explain_slow(API)
    assert (evidence.suspect.kind, evidence.suspect.ref, evidence.gain) == (SuspectKind.INVISIBLE, None, None)


def test_slow_with_a_stall_has_its_evidence() -> None:
    attributor = run(later(BOTH, 10, 100.0))
    assert attributor.explain_slow(API) == attributor.latest.by_victim[API]


@pytest.mark.parametrize(
    "unknown",
    [
        Usage(0),
        usage(waiting=Missing.UNSUPPORTED),
        usage(pressure={"cpu": Pressure(0.0, 0.0), "memory": Pressure(0.0, 0.0)}),
        usage(pressure={**stalls(), "io": Pressure()}),
        usage(pressure=stalls(memory=0.2)),
    ],
)
def test_without_all_counters_nothing_is_said_about_a_slow_victim(unknown: Usage) -> None:
    assert run(later({API: unknown}, 1, 100.0)).explain_slow(API) == ()
    assert Attributor().explain_slow(API) == ()


def test_shares_that_shift_stay_shares_of_one_whole() -> None:
    """Evidence that hardly changes stays as it is: all about a victim together, else old and new shares exceed 1."""

    def shifting(at_s: float) -> Moment:
        shift = 0.06 * at_s
        parts = {BATCH: 0.38 - shift / 2, OTHER: 0.38 - shift / 2, THIRD: 0.24 + shift}
        hogs = {each: usage(cpu=1.8 * part) for each, part in parts.items()}
        return host(2.0), {API: usage(cpu=0.2, waiting=0.3), **hogs}

    attributor = Attributor()
    for frame in frames(shifting, 6, 0.5):
        assert sum(each.share for each in attributor.take(frame).by_victim.get(API, ())) <= 1.0 + 1e-9
    assert len(attributor.latest.by_victim[API]) == 3
