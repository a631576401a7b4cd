"""What holds for every frame, whatever is missing in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_type_hints

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.attribution.attributor import SUSPECTED_SHARE, Attributor
from collectors.attribution.evidence import CONTAINABLE, Attribution, SuspectKind
from collectors.sampling.frame import DiskLatency, Frame, HostProgram, HostUsage, IoRates, NetRates, Pressure, Usage
from runtime.model import UNLIMITED, Missing
from tests.unit.collectors.attribution.scenes import API, BATCH, NCPU, OTHER, SECOND_NS, ref

TOLERANCE = 1e-6
REFS = (API, BATCH, OTHER, *(ref(f"c{number}") for number in range(3)))

missing = st.sampled_from(list(Missing))


def or_missing(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, values, values, missing)


amounts = st.floats(0, 1e10)
counts = st.integers(0, 1 << 40)
shares = st.floats(0, 1)
cores = st.floats(0, 2 * NCPU)
cpu_sets = st.frozensets(st.integers(0, NCPU - 1))
devices = st.sampled_from(["8:0", "8:16", "7:0"])
io_rates = st.builds(IoRates, amounts, or_missing(amounts), amounts, amounts)
net_rates = st.builds(NetRates, *[amounts] * 6)
pressures = st.builds(Pressure, or_missing(shares), or_missing(shares))

STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    "cpu": cores,
    "throttled": cores,
    "waiting": shares,
    "io": io_rates,
    "net": net_rates,
    "cpus": cpu_sets,
    "cpu_idle": st.booleans(),
    "cpu_weight": st.integers(1, 10_000),
    "io_weight": st.integers(1, 1000),
    "cpu_limit": st.one_of(cores, st.just(UNLIMITED)),
}
MAPPINGS = {
    "io_devices": st.dictionaries(devices, io_rates),
    "io_stacked": st.dictionaries(devices, io_rates),
    "net_interfaces": st.just({}),
    "net_internal": st.just({}),
    "extra": st.just({}),
    "pressure": st.dictionaries(st.sampled_from(["cpu", "memory", "io"]), pressures),
    "net_shared": st.booleans(),
    "at_ns": st.just(0),
}


def strategy(name: str, hint: Any) -> st.SearchStrategy[Any]:
    """Any value that a field of `Usage` can have, `Missing` included."""
    if name in MAPPINGS:
        return MAPPINGS[name]
    if name in STRATEGIES:
        return or_missing(STRATEGIES[name])
    return or_missing(counts if int in get_args(hint) else amounts)


usages = st.builds(Usage, **{name: strategy(name, hint) for name, hint in get_type_hints(Usage).items()})
programs = st.builds(
    HostProgram,
    pid=st.integers(1, 9),
    name=st.sampled_from(["make", "[kworker]"]),
    unit=st.sampled_from(["", "build.service"]),
    cpu=cores,
    cpus=cpu_sets,
    idle_class=st.booleans(),
    read_bytes=or_missing(amounts),
    write_bytes=or_missing(amounts),
)
hosts = st.builds(
    HostUsage,
    ncpu=st.integers(1, NCPU),
    cpu=or_missing(cores),
    net_rx=or_missing(amounts),
    net_tx=or_missing(amounts),
    io_read=or_missing(amounts),
    io_write=or_missing(amounts),
    steal=or_missing(cores),
    disks=st.dictionaries(devices, st.builds(DiskLatency, *[or_missing(amounts)] * 3, or_missing(shares))),
    tasks=or_missing(counts),
    tasks_limit=or_missing(counts),
    forks=or_missing(amounts),
    programs=st.lists(programs, max_size=3).map(tuple),
)
moments = st.tuples(hosts, st.dictionaries(st.sampled_from(REFS), usages), st.sampled_from([0.5, 1.0, 5.0]))


def frames_of(
    drawn: Sequence[tuple[HostUsage, dict[Any, Usage], float]], change: Callable[[Usage], Usage] = lambda each: each
) -> list[Frame]:
    """Each moment three times, so that a wait lasts."""
    at_ns, found = 0, []
    for about, there, interval_s in drawn:
        for _ in range(3):
            at_ns += int(interval_s * SECOND_NS)
            changed = {each: change(usage) for each, usage in there.items()}
            found.append(Frame(len(found), at_ns, at_ns, int(interval_s * SECOND_NS), 0, about, usages=changed))
    return found


def attributions(frames: Sequence[Frame]) -> list[Attribution]:
    attributor = Attributor()
    return [attributor.take(frame) for frame in frames]


@settings(max_examples=150, deadline=None)
@given(st.lists(moments, min_size=1, max_size=4))
def test_whatever_is_missing_evidence_is_sound(drawn: Any) -> None:
    frames = frames_of(drawn)
    for frame, attribution in zip(frames, attributions(frames), strict=True):
        for victim, evidence in attribution.by_victim.items():
            assert victim in frame.usages
            parts: dict[Any, float] = defaultdict(float)
            for each in evidence:
                assert each.victim == victim
                assert each.suspect.ref != victim, "nobody is blamed for himself"
                assert 0.0 <= each.score <= each.wait + TOLERANCE <= 1.0 + 2 * TOLERANCE
                assert each.score >= SUSPECTED_SHARE * 0.5
                assert each.suspect.ref is None or each.suspect.ref in frame.usages
                assert each.gain is None or (each.gain.gain > 0 and each.suspect.kind in CONTAINABLE)
                assert (each.suspect.kind is SuspectKind.CONTAINER) == (each.suspect.ref is not None)
                parts[each.resource] += each.share
            assert all(part <= 1.0 + TOLERANCE for part in parts.values())
            assert len({(each.resource, each.suspect) for each in evidence}) == len(evidence)


def without_waits(each: Usage) -> Usage:
    """As it was, and it waits for nothing, has lost no packet and is at no limit."""
    net = each.net if isinstance(each.net, Missing) else NetRates(1.0, 1.0, 1.0, 1.0, 0.0, 0.0)
    return each._replace(
        waiting=0.0, throttled=0.0, pressure={}, retransmits=0.0, backlog=0, net=net, pids_limit=UNLIMITED
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(moments, min_size=1, max_size=3))
def test_without_waiting_there_is_no_evidence(drawn: Any) -> None:
    calm = [
        (HostUsage(ncpu=about.ncpu, cpu=about.cpu, disks=about.disks, programs=about.programs), there, interval_s)
        for about, there, interval_s in drawn
    ]
    assert all(not attribution.by_victim for attribution in attributions(frames_of(calm, without_waits)))


@settings(max_examples=60, deadline=None)
@given(st.lists(moments, min_size=1, max_size=3))
def test_the_same_frames_give_the_same_evidence(drawn: Any) -> None:
    frames = frames_of(drawn)
    assert attributions(frames) == attributions(frames)
