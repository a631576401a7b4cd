"""From a victim to its culprit and back; what blames nobody and what was cleared leads nowhere."""

from __future__ import annotations

from collectors.attribution.evidence import NO_ATTRIBUTION, Confidence, Suspect, SuspectKind
from tests.evidence import API, BATCH, WEB, attributed, evidence
from tui.core import culprits


def test_from_a_victim_to_its_culprit_and_back() -> None:
    found = attributed(evidence(API, BATCH, 0.5), evidence(WEB, BATCH, 0.3))
    assert culprits.counterpart(found, API) == BATCH
    assert culprits.counterpart(found, WEB) == BATCH
    assert culprits.counterpart(found, BATCH) == API, "the victim that it hurts most"


def test_one_that_is_both_goes_where_the_score_is_higher() -> None:
    found = attributed(evidence(API, BATCH, 0.2), evidence(BATCH, WEB, 0.4))
    assert culprits.counterpart(found, BATCH) == WEB
    found = attributed(evidence(API, BATCH, 0.6), evidence(BATCH, WEB, 0.4))
    assert culprits.counterpart(found, BATCH) == API


def test_the_key_acts_for_whom_the_line_names_first() -> None:
    found = attributed(evidence(API, BATCH, 0.4), evidence(BATCH, API, 0.1))
    assert culprits.victim_for(found, BATCH) == API, "the hog waits a little for its victim: that is not the harm"
    assert culprits.victim_for(found, API) == API
    assert culprits.counterpart(found, BATCH) == API


def test_nobody_is_blamed_for_a_quota_or_after_a_probe_has_cleared_it() -> None:
    own = evidence(API, Suspect(SuspectKind.OWN_QUOTA), 0.9)
    cleared = evidence(API, BATCH, 0.5, confidence=Confidence.CLEARED)
    found = attributed(own, cleared)
    assert culprits.blamed(found, API) is None
    assert culprits.counterpart(found, API) is None
    assert culprits.hurt_by(found, BATCH) == ()
    assert culprits.victim_for(found, BATCH) is None
    assert culprits.roles(found) == {}
    assert culprits.counterpart(NO_ATTRIBUTION, API) is None


def test_behind_its_own_quota_the_culprit_is_still_found() -> None:
    found = attributed(evidence(API, Suspect(SuspectKind.OWN_QUOTA), 0.9), evidence(API, BATCH, 0.3))
    assert culprits.counterpart(found, API) == BATCH


def test_a_program_of_the_host_hurts_and_has_no_row() -> None:
    found = attributed(evidence(API, Suspect(SuspectKind.UNIT, name="cron.service"), 0.5))
    assert culprits.counterpart(found, API) is None
    assert culprits.victim_for(found, API) == API
    assert culprits.roles(found) == {API: False}


def test_each_victim_of_a_culprit_is_told_once_by_its_strongest_evidence() -> None:
    from_cpu = evidence(API, BATCH, 0.5)
    found = attributed(from_cpu, evidence(API, BATCH, 0.2), evidence(WEB, BATCH, 0.3))
    assert [each.victim for each in culprits.hurt_by(found, BATCH)] == [API, WEB]
    assert culprits.hurt_by(found, BATCH)[0] is from_cpu


def test_who_does_both_is_marked_as_one_that_hurts() -> None:
    found = attributed(evidence(API, BATCH, 0.2), evidence(BATCH, WEB, 0.4))
    assert culprits.roles(found) == {API: False, BATCH: True, WEB: True}
