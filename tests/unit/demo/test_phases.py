"""What the phases of a story say, and how it is told: table, scorecard, document, picture."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from collectors.attribution.evidence import Resource
from collectors.sampling.frame import Usage
from runtime.model import UNLIMITED, ContainerRef, DeviceRate, FieldOutcome, LimitName, LimitOutcome, Missing, Verdict
from tui.demo import scorecard
from tui.demo.phases import Phase, PhaseKind, StoryFinding, StoryResult, finding, pooled
from tui.demo.stories import StoryName
from tui.demo.story import Report

HOG = ContainerRef("embedded", "h" * 64)


def reports(latency_ms: float, answered: int = 25, count: int = 10) -> tuple[Report, ...]:
    return tuple(
        Report(0.0, 25, 25 - answered, (latency_ms / 2,) * (answered - 1) + (latency_ms,)) for _ in range(count)
    )


def outcome(verdict: Verdict = Verdict.APPLIED) -> LimitOutcome:
    field = FieldOutcome(LimitName.CPUS, 0.2, UNLIMITED, 0.2, 0.2, verdict)
    return LimitOutcome(HOG, (field,))


def phase(
    name: str, kind: PhaseKind, latency_ms: float, hog: float | None, answered: int = 25, **more: object
) -> Phase:
    found = reports(latency_ms, answered)
    usages = {"victim": Usage(0, cpu=0.5)}
    if hog is not None:
        usages["hog"] = Usage(0, cpu=hog)
    service = pooled(found)
    assert service is not None
    return Phase(name=name, kind=kind, reports=found, victim=service, usages=usages, **more)  # type: ignore[arg-type]


def result(*, rung_ms: float = 30, hurt_ms: float = 1200, verdict: Verdict = Verdict.APPLIED) -> StoryResult:
    found = StoryResult(
        StoryName.CPU, Resource.CPU, "embedded", ("hog",), refused={"weight": "no such file"}, outside=0.1
    )
    found.phases += [
        phase("alone", PhaseKind.ALONE, 14, None),
        phase("hog", PhaseKind.NOISE, hurt_ms, 0.5, answered=20 if hurt_ms > 100 else 25),
        phase("idle", PhaseKind.RUNG, rung_ms, 0.4, settling=reports(900, count=3), readback_s=(0.01,)),
        phase("cap", PhaseKind.RUNG, rung_ms, 0.2, outcomes=(outcome(verdict),), readback_s=(0.02, 0.03)),
        phase("reverted", PhaseKind.RELEASED, 1100, 0.5),
    ]
    return found


def test_a_rung_is_judged_against_alone_and_noise() -> None:
    found = result()
    score = found.score(found.rungs()[1])
    assert score.isolation is not None
    assert score.isolation.mean == 1.0
    assert score.latency_impact is not None
    assert score.latency_impact.mean == pytest.approx(30 / 14 - 1)
    assert score.kept == pytest.approx(0.4)
    assert score.conserved == pytest.approx(0.7)
    assert score.recovery == pytest.approx((1200 - 30) / (1200 - 14))
    assert found.score(found.rungs()[0]).recovered_s == 2.0, "three slow reports first, then two good ones"
    noise = found.score(found.noise)
    assert (noise.kept, noise.conserved, noise.recovery) == (None, None, None)
    assert noise.isolation is not None
    assert noise.isolation.mean == pytest.approx(0.8)


def test_the_finding_goes_by_ratios() -> None:
    assert finding(result())[0] is StoryFinding.HELPED
    assert finding(result(rung_ms=1150))[0] is StoryFinding.HARDLY
    assert finding(result(hurt_ms=20))[0] is StoryFinding.NOT_HURT
    assert finding(result(verdict=Verdict.IGNORED))[0] is StoryFinding.NOT_HELD


def test_of_rungs_that_help_alike_the_milder_is_the_best() -> None:
    best = result().best()
    assert best is not None
    assert best.name == "idle"


def test_on_a_busy_host_the_percentile_counts_that_the_hog_has_made_worse() -> None:
    """With other load on the core, the p99 is large without any hog, and fell when the hog came."""
    found = result()
    tail = (Report(0.0, 25, 0, (0.5,) * 24 + (140.0,)),) * 10
    noisy = (Report(0.0, 25, 0, (13.0,) * 24 + (42.0,)),) * 10
    calm = (Report(0.0, 25, 0, (0.6,) * 24 + (136.0,)),) * 10
    for number, (name, kind, lines) in enumerate(
        (("alone", PhaseKind.ALONE, tail), ("hog", PhaseKind.NOISE, noisy), ("memory", PhaseKind.RUNG, calm))
    ):
        service = pooled(lines)
        assert service is not None
        found.phases[number] = Phase(name=name, kind=kind, reports=lines, victim=service)
    del found.phases[3:]
    assert found.judged == "p50"
    assert finding(found) == (StoryFinding.HELPED, pytest.approx((13 - 0.6) / (13 - 0.5)))


def test_a_busy_host_is_told_by_what_others_use_or_by_a_slow_victim() -> None:
    found = result()
    assert not found.busy
    found.outside = 0.4
    assert found.busy
    found.outside = None
    found.phases[0] = phase("alone", PhaseKind.ALONE, 400, None)
    assert found.busy


def test_the_table_and_the_card_have_a_line_for_each_phase() -> None:
    found = result()
    assert [line.split()[0] for line in scorecard.table(found)] == ["phase", "alone", "hog", "idle", "cap", "reverted"]
    card = scorecard.scorecard(found)
    assert "0.20 cores" in card[3]
    assert "30.0 ms" in card[3]
    assert "no such file" in card[-1]
    text = "\n".join(scorecard.summary(found))
    assert "p50 20.0 ms, p99 30.0 ms of 3" in text
    assert "helped" in text


def test_the_document_is_json_and_says_null_where_nothing_is_known() -> None:
    found = result()
    found.phases[2] = phase("idle", PhaseKind.RUNG, 30, None)
    read = json.loads(json.dumps(scorecard.document(found)))
    names = [each["phase"] for each in read["phases"]]
    assert names == ["alone", "hog", "idle", "cap", "reverted"]
    assert read["phases"][2]["hog_use"] is None
    assert read["phases"][3]["limits"][0] == {
        "container": HOG.id,
        "limit": "cpus",
        "requested": 0.2,
        "kernel": 0.2,
        "verdict": "applied",
    }
    assert set(read["phases"][1]["isolation"]) == {"mean", "p05", "p95", "seconds"}


def test_values_of_limits_are_plain_in_the_document() -> None:
    assert scorecard._plain((DeviceRate("8:0", UNLIMITED),)) == {"8:0": "unlimited"}
    assert scorecard._plain(Missing.DENIED) is None


def test_the_picture_is_well_formed_and_has_a_bar_for_each_phase() -> None:
    root = ElementTree.fromstring(scorecard.svg([result(), result(rung_ms=900)]))
    bars = list(root.iter("{http://www.w3.org/2000/svg}rect"))
    assert len(bars) == 1 + 2 * (5 + 4), "the ground; a p99 of each phase, what was kept of all but alone"
    height = float(root.attrib["height"])
    assert all(float(bar.get("y", "0")) + float(bar.attrib["height"]) <= height for bar in bars)
    assert ElementTree.fromstring(scorecard.svg([])).tag.endswith("svg")
