"""Bounds that are met, not met and not measured; tables, JSON and the generated part of a page."""

from __future__ import annotations

import dataclasses
import json
import math
from random import Random

import pytest

from tests.eval import baselines, judged, report, tuning
from tests.eval.judging import ATTRIBUTION, Explanation
from tests.eval.metrics import Pair
from tests.eval.report import Circumstances
from tests.eval.results import Containment, Crashes, Harm, Results, Verdict, verdicts

ABOUT = Circumstances(
    command="make eval-containment",
    date="2026-11-28T02:00+00:00",
    seed=1,
    repeats=5,
    kernel="6.18",
    processor="a processor",
    cpus=2,
    memory_gib=24.0,
    cgroups="hybrid",
    minutes=41.0,
    load_before=0.1,
)
RUN = Containment(
    scenario="cpu-spare",
    repeat=0,
    named_s=2.0,
    rungs=("cpu weight", "idle class"),
    rung_s=(2.1, 4.9),
    recovered_s=7.0,
    alone_p99=10.0,
    harmed_p99=110.0,
    contained_p99=20.0,
    isolation=(1.0,) * 8,
    alone_isolation=(1.0,) * 6,
    latency_impact=(0.0,) * 8,
    hog_kept=0.6,
    spare=True,
)


def pairs(found: int, missed: int, wrong: int = 0, right: int = 0) -> list[Pair]:
    def one(number: int, *, culprit: bool, named: bool) -> Pair:
        after = 2.0 if named else None
        return Pair(
            scenario="cpu-hog",
            repeat=number,
            victim="victim",
            suspect="hog",
            culprit=culprit,
            named=named,
            after_s=after,
            wait=0.8,
        )

    return [
        *(one(number, culprit=True, named=True) for number in range(found)),
        *(one(number, culprit=True, named=False) for number in range(missed)),
        *(one(number, culprit=False, named=True) for number in range(wrong)),
        *(one(number, culprit=False, named=False) for number in range(right)),
    ]


def met(results: Results) -> dict[str, bool | None]:
    return {verdict.bound: verdict.met for verdict in verdicts(results, seed=1)}


def whole() -> Results:
    return Results(
        pairs={ATTRIBUTION: pairs(20, 0, 0, 20), "usage alone": pairs(10, 10, 10, 10)},
        explanations=[Explanation("own-quota", 0, "victim", "own quota", True)],
        harms=[Harm(scenario="cpu-hog", repeat=0, victim="victim", alone_p99=10, harmed_p99=90, wait=0.8)],
        containments=[RUN],
        crashes=Crashes(200, ()),
        benign_s=3600.0,
    )


def test_nothing_measured_is_neither_met_nor_missed() -> None:
    assert set(met(Results()).values()) == {None}


def test_all_is_met() -> None:
    results = whole()
    results.pairs[ATTRIBUTION] += [dataclasses.replace(each, wait=0.2) for each in pairs(5, 0)]
    assert set(met(results).values()) == {True}


@pytest.mark.parametrize(
    ("change", "bound"),
    [
        ({"pairs": {ATTRIBUTION: pairs(20, 0, 2, 20)}}, "precision"),
        ({"pairs": {ATTRIBUTION: pairs(17, 3)}}, "recall"),
        (
            {"pairs": {ATTRIBUTION: [dataclasses.replace(each, after_s=3.1) for each in pairs(9, 0)]}},
            "named within 3 s",
        ),
        ({"containments": [dataclasses.replace(RUN, rung_s=(5.1, 6.0))]}, "first rung"),
        ({"containments": [dataclasses.replace(RUN, rungs=(), rung_s=())]}, "first rung"),
        ({"containments": [dataclasses.replace(RUN, rung_s=(2.0, 5.1))]}, "each next rung"),
        ({"containments": [dataclasses.replace(RUN, recovered_s=None)]}, "recovered within"),
        ({"containments": [dataclasses.replace(RUN, contained_p99=31.0)]}, "p99 recovered"),
        ({"containments": [dataclasses.replace(RUN, hog_kept=0.4)]}, "CPU that the hog keeps"),
        ({"containments": [dataclasses.replace(RUN, isolation=(0.94,) * 8)]}, "isolation with the last rung"),
        ({"containments": [dataclasses.replace(RUN, isolation=(0.8, *(1.0,) * 9))]}, "isolation, p05"),
        ({"crashes": Crashes(200, ("a lease was left",))}, "0 leases wrong"),
        ({"crashes": Crashes(199, ())}, "0 leases wrong"),
        ({"benign_actions": ["hog for victim"]}, "0 actions"),
        ({"benign_s": 600.0}, "0 actions"),
    ],
)
def test_a_bound_that_is_not_met(change: dict[str, object], bound: str) -> None:
    found = met(dataclasses.replace(whole(), **change))
    assert [value for name, value in found.items() if name.startswith(bound)] == [False]


def test_the_text_has_every_part() -> None:
    results = whole()
    results.failures.append("io-reader 1: no loop device")
    text = report.text(results, verdicts(results, seed=1), judged.SCENARIOS)
    for part in (
        "cpu-hog",
        "20 of 20",
        "10 -> 90 ms",
        "usage alone",
        "own-quota: 1 of 1",
        "idle class",
        "FAILED io-reader",
    ):
        assert part in text
    assert "met           precision per victim-suspect pair >= 0.95" in text


def test_json_has_seeds_verdicts_and_each_pair() -> None:
    results = whole()
    found = json.loads(report.to_json(results, verdicts(results, seed=1), ABOUT))
    assert found["circumstances"]["command"] == "make eval-containment"
    assert found["judged"]["seed"] == judged.SEED
    assert found["detectors"]["usage alone"]["fp"] == 10
    assert len(found["pairs"][ATTRIBUTION]) == 40


def test_the_page_keeps_what_was_written_by_hand() -> None:
    page = f"# Title\n\nby hand\n\n{report.BEGIN}\nstale text\n{report.END}\n\nmore by hand\n"
    results = whole()
    generated = report.document(results, verdicts(results, seed=1), ABOUT)
    written = report.inserted(page, generated)
    assert written.startswith("# Title\n\nby hand\n")
    assert written.endswith("more by hand\n")
    assert "stale text" not in written
    assert "seed 1" in written
    assert report.inserted(written, generated) == written
    with pytest.raises(ValueError, match="no part"):
        report.inserted("# Title\n", generated)


def test_the_page_of_this_project_can_be_written() -> None:
    assert report.inserted(report.DOCUMENT.read_text(), "new")


def test_verdicts_print_as_met_or_not() -> None:
    assert str(Verdict("a", "1", False)).startswith("NOT met")
    assert str(Verdict("a", "-", None)).startswith("not measured")


def test_the_sets_have_no_kind_in_common_and_enough_of_each() -> None:
    names = [{scenario.name for scenario in part.SCENARIOS} for part in (judged, tuning)]
    assert not names[0] & names[1]
    assert judged.SEED != tuning.SEED
    assert len(judged.SCENARIOS) >= 16
    assert {str(scenario.resource) for scenario in judged.SCENARIOS if scenario.positive} == {
        "cpu",
        "memory",
        "io",
        "network",
        "tasks",
    }
    assert len([scenario for scenario in judged.SCENARIOS if not scenario.positive]) >= 9


@pytest.mark.parametrize("scenario", [*judged.SCENARIOS, *tuning.SCENARIOS], ids=lambda each: each.name)
def test_the_casts_have_who_is_labelled_and_differ_by_seed(scenario: judged.Scenario) -> None:
    casts = [scenario.cast(Random(seed)) for seed in range(5)]
    assert scenario.cast(Random(3)) == casts[3]
    assert len({str(cast) for cast in casts}) > 1
    for cast in casts:
        names = [actor.name for actor in cast.actors]
        assert len(set(names)) == len(names)
        labelled = {name for pair in scenario.culprits for name in pair} | set(scenario.victims)
        assert labelled <= set(names)
        assert all(actor.at_s is None for actor in cast.actors if actor.name in scenario.victims)
    assert math.isfinite(scenario.noise_s)


def test_thresholds_are_written_with_where_they_are_from() -> None:
    results = Results(pairs={name: pairs(3, 0, 0, 3) for name in baselines.SCORES})
    for name, found in results.pairs.items():
        results.pairs[name] = [dataclasses.replace(each, score=0.8 if each.culprit else 0.2) for each in found]
    written = json.loads(report.thresholds(results, seed=7, repeats=2, date="2026-11-28"))
    assert written["thresholds"] == dict.fromkeys(baselines.SCORES, 0.5)
    assert (written["scenarios"], written["seed"], written["repeats"]) == (["cpu-hog"], 7, 2)
    assert written.keys() == json.loads(baselines.THRESHOLDS_FILE.read_text()).keys()
