"""One sentence of evidence: its three parts, and who is not blamed."""

from __future__ import annotations

import pytest

from collectors.attribution.evidence import Confidence, Gain, Resource, Suspect, SuspectKind
from runtime.model import LimitName, Ref
from tests.evidence import API, BATCH, evidence
from tui.present.evidence_text import sentence


def name(ref: Ref) -> str:
    return ref.id


def test_how_long_who_and_what_would_help() -> None:
    found = evidence(API, BATCH, 0.4977, wait=0.79, gain=Gain(LimitName.CPUS, 0.4, 0.6))
    assert sentence(found, name) == (
        "api waits 79% of the time for CPU; batch holds 63% of what it waits for;"
        " capping batch at CPU cores 0.4 would give it about 0.6 cores"
    )


def test_a_program_of_the_host_is_named() -> None:
    found = evidence(API, Suspect(SuspectKind.UNIT, name="backup.service"), 0.4, resource=Resource.IO)
    assert sentence(found, name).endswith("for the disk; backup.service holds 50% of what it waits for")


@pytest.mark.parametrize("kind", set(SuspectKind) - {SuspectKind.CONTAINER, SuspectKind.UNIT, SuspectKind.PROCESS})
def test_nobody_is_blamed_where_nobody_can_be(kind: SuspectKind) -> None:
    assert "holds" not in sentence(evidence(API, Suspect(kind), 0.4), name).replace("holds it back", "")


@pytest.mark.parametrize(
    ("confidence", "words"),
    [(Confidence.SUSPECTED, "suspicion"), (Confidence.CONFIRMED, "confirmed"), (Confidence.CLEARED, "not the cause")],
)
def test_how_sure_it_is_is_said(confidence: Confidence, words: str) -> None:
    assert words in sentence(evidence(API, BATCH, 0.4, confidence=confidence), name)
