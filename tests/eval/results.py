"""What an evaluation found, and its bounds. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.eval import metrics
from tests.eval.judging import ATTRIBUTION, Explanation
from tests.eval.metrics import Interval, Pair, Scores

MIN_PRECISION: Final = 0.95
MIN_RECALL: Final = 0.90
NAMED_HIGH_S: Final = 3.0  # median, of victims that wait more than half of the time
NAMED_REST_S: Final = 8.0
FIRST_RUNG_S: Final = 5.0  # from the start of the harm to the read-back
NEXT_RUNG_S: Final = 3.0
RECOVERED_S: Final = 15.0
MIN_P99_RECOVERED: Final = 0.80
MIN_HOG_KEPT: Final = 0.50
MIN_ISOLATION: Final = 0.95
MIN_ISOLATION_P05: Final = 0.90  # of the alone phase's own 5th percentile
KILLS: Final = 200
BENIGN_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """What a run did to a victim: latency in ms alone and during the harm, and the share of time that it lost."""

    scenario: str
    repeat: int
    victim: str
    alone_p99: float
    harmed_p99: float
    wait: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Containment:
    """One run of climbing the ladder. Seconds count from the start of the harm, latencies are in ms.

    Attributes:
        rungs: what was done, in order; `rung_s` has when each was read back.
        recovered_s: from when on the service was back; None where it never was.
        isolation: by second with the last rung; `alone_isolation` that of the quiet phase.
        hog_kept: the suspect's use of the resource with the last rung, of that before the first.
        spare: the victim leaves a part of its CPUs unused, so that the suspect could keep that.
    """

    scenario: str
    repeat: int
    named_s: float | None
    rungs: tuple[str, ...] = ()
    rung_s: tuple[float, ...] = ()
    recovered_s: float | None = None
    alone_p99: float = math.nan
    harmed_p99: float = math.nan
    contained_p99: float = math.nan
    isolation: tuple[float, ...] = ()
    alone_isolation: tuple[float, ...] = ()
    latency_impact: tuple[float, ...] = ()
    hog_kept: float = math.nan
    spare: bool = False
    trouble: str = ""

    @property
    def p99_recovered(self) -> float:
        return metrics.recovered_share(self.alone_p99, self.harmed_p99, self.contained_p99)


@dataclass(frozen=True, slots=True)
class Crashes:
    """The lease crash test: how many kills, and what was wrong after them."""

    kills: int
    wrong: tuple[str, ...]


@dataclass(slots=True)
class Results:
    """Everything that was measured; a part that was not is None or empty."""

    pairs: dict[str, list[Pair]] = field(default_factory=dict)  # by detector
    explanations: list[Explanation] = field(default_factory=list)
    harms: list[Harm] = field(default_factory=list)
    outside_wrongly: int = 0
    containments: list[Containment] = field(default_factory=list)
    crashes: Crashes | None = None
    benign_s: float = 0.0
    benign_actions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # runs that could not be made

    def scores(self) -> Mapping[str, Scores]:
        return {name: Scores.of(pairs) for name, pairs in self.pairs.items()}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bound: `met` is None where it was not measured."""

    bound: str
    measured: str
    met: bool | None

    def __str__(self) -> str:
        mark = {True: "met", False: "NOT met", None: "not measured"}[self.met]
        return f"{mark:<12}  {self.bound:<66}  {self.measured}"


def verdicts(results: Results, *, seed: int) -> list[Verdict]:
    """Every bound, in the order of the issue."""
    return [*_naming(results, seed), *_containing(results, seed), *_rest(results)]


def _naming(results: Results, seed: int) -> Iterable[Verdict]:
    pairs = results.pairs.get(ATTRIBUTION, [])
    scores = Scores.of(pairs)
    yield _at_least("precision per victim-suspect pair", MIN_PRECISION, scores.precision)
    yield _at_least("recall per victim-suspect pair", MIN_RECALL, scores.recall)
    for high, bound, words in ((True, NAMED_HIGH_S, "waits more than half of the time"), (False, NAMED_REST_S, "rest")):
        times = metrics.times_to_name(pairs, high_wait=high)
        found = metrics.bootstrap(times, seed=seed)
        yield _at_most(f"named within {bound:.0f} s, {words} (median)", bound, found)


def _containing(results: Results, seed: int) -> Iterable[Verdict]:
    runs = results.containments

    def median(values: Sequence[float]) -> Interval:
        return metrics.bootstrap(values, seed=seed)

    first = [run.rung_s[0] if run.rung_s else math.inf for run in runs]
    following = [b - a for run in runs for a, b in zip(run.rung_s, run.rung_s[1:], strict=False)]
    recovered = [math.inf if run.recovered_s is None else run.recovered_s for run in runs]
    yield _at_most(f"first rung read back {FIRST_RUNG_S:.0f} s after the harm (median)", FIRST_RUNG_S, median(first))
    yield _at_most(f"each next rung within {NEXT_RUNG_S:.0f} s (median)", NEXT_RUNG_S, median(following))
    yield _at_most(f"recovered within {RECOVERED_S:.0f} s (median)", RECOVERED_S, median(recovered))
    spare = [run for run in runs if run.spare]
    shares = [run.p99_recovered for run in spare if not math.isnan(run.p99_recovered)]
    kept = [run.hog_kept for run in spare if not math.isnan(run.hog_kept)]
    yield _at_least("p99 recovered where spare capacity exists (median)", MIN_P99_RECOVERED, median(shares))
    yield _at_least("CPU that the hog keeps there (median)", MIN_HOG_KEPT, median(kept))
    pooled = [value for run in runs for value in run.isolation]
    alone = [value for run in runs for value in run.alone_isolation]
    yield _at_least(
        "isolation with the last rung, mean", MIN_ISOLATION, metrics.bootstrap(pooled, statistics.fmean, seed=seed)
    )
    own = metrics.percentile(alone, 0.05)

    def of_own(values: Sequence[float]) -> float:
        return metrics.percentile(values, 0.05) / own if own else math.nan

    ratio = metrics.bootstrap(pooled, of_own, seed=seed)
    yield _at_least("isolation, p05 of the alone phase's own", MIN_ISOLATION_P05, ratio)


def _rest(results: Results) -> Iterable[Verdict]:
    crashes = results.crashes
    met = None if crashes is None else crashes.kills >= KILLS and not crashes.wrong
    measured = "-" if crashes is None else f"{len(crashes.wrong)} of {crashes.kills}"
    yield Verdict(f"0 leases wrong after {KILLS} kills", measured, met)
    benign = None if not results.benign_s else results.benign_s >= BENIGN_S and not results.benign_actions
    measured = f"{len(results.benign_actions)} in {results.benign_s:.0f} s" if results.benign_s else "-"
    yield Verdict("0 actions in an hour of benign load", measured, benign)


def _at_least(words: str, bound: float, found: Interval) -> Verdict:
    if math.isnan(found.value):
        return Verdict(f"{words} >= {bound:.2f}", "-", None)
    return Verdict(f"{words} >= {bound:.2f}", str(found), found.value >= bound)


def _at_most(words: str, bound: float, found: Interval) -> Verdict:
    if math.isnan(found.value):
        return Verdict(words, "-", None)
    text = f"{found.value:.2f} s ({found.low:.2f} to {found.high:.2f})"
    return Verdict(words, text, found.value <= bound)
