"""Attribution over recorded scenarios of real containers: culprits are named, nobody else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.attribution.evidence import Resource
from tests.eval import judged, recording
from tests.eval.judging import AttributionDetector, explained
from tests.eval.judging import judged as pairs_of
from tests.eval.metrics import Scores

RECORDS = Path(__file__).parents[2] / "data/attribution"
FILES = sorted(path for path in RECORDS.glob("*.json") if path.stem in {each.name for each in judged.SCENARIOS})
MAX_BYTES = 200_000
INVISIBLE = {
    "net-streams": "a queue behind the bridge delays packets and drops few: no counter of a container tells it"
}
"""Scenarios whose culprit attribution cannot see. They count as missed in the evaluation, too."""


def test_the_recordings_are_small_and_of_every_resource() -> None:
    assert [path.name for path in FILES if path.stat().st_size >= MAX_BYTES] == []
    resources = {each.resource for each in judged.SCENARIOS if each.name in {path.stem for path in FILES}}
    assert resources >= set(Resource)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recorded_scenario(path: Path) -> None:
    seen = recording.read(path)
    pairs = pairs_of(seen, AttributionDetector(seen.names))
    assert [pair.suspect for pair in pairs if pair.named and not pair.culprit] == []
    missed = [pair.suspect for pair in pairs if pair.culprit and not pair.named]
    assert missed == (["hog"] if path.stem in INVISIBLE else [])


def test_the_explanations_of_recorded_scenarios() -> None:
    found = [each for seen in map(recording.read, FILES) for each in explained(seen, AttributionDetector(seen.names))]
    assert found
    assert [(each.scenario, each.kind) for each in found if not each.right] == []


def test_the_recordings_are_judged_as_one_set() -> None:
    scores = Scores.of(
        pair for seen in map(recording.read, FILES) for pair in pairs_of(seen, AttributionDetector(seen.names))
    )
    assert scores.precision.value >= 0.95
    assert scores.recall.value >= 0.90
