"""The WHY line: the strongest first, parts whole or left out, never wider than the screen."""

from __future__ import annotations

import pytest

from collectors.attribution.evidence import NO_ATTRIBUTION, Evidence, Suspect, SuspectKind
from runtime.model import ContainerRef, Ref
from tests.evidence import API, BATCH, WEB, attributed, evidence
from tui.present.glyphs import UNICODE
from tui.present.why_text import hurts_text, why_lines, why_parts


def name(ref: Ref) -> str:
    return ref.id


def sentence(found: Evidence) -> str:
    return f"{name(found.victim)} waits {found.wait:.0%}; it is {found.suspect.kind.value}"


def test_of_a_victim_it_is_who_hurts_it() -> None:
    found = attributed(evidence(API, BATCH, 0.5))
    assert why_parts(found, API, sentence, name) == ["api waits 80%", "it is container"]


def test_of_a_culprit_it_is_whom_it_hurts() -> None:
    found = attributed(evidence(API, BATCH, 0.5), evidence(WEB, BATCH, 0.3, wait=0.4))
    assert why_parts(found, BATCH, sentence, name) == ["batch hurts api (waits 80% for cpu), web (waits 40% for cpu)"]


def test_of_one_that_is_both_the_stronger_comes_first() -> None:
    found = attributed(evidence(API, BATCH, 0.5), evidence(BATCH, WEB, 0.3))
    assert why_parts(found, BATCH, sentence, name)[0].startswith("batch hurts api")
    found = attributed(evidence(API, BATCH, 0.2), evidence(BATCH, WEB, 0.3))
    assert why_parts(found, BATCH, sentence, name)[0] == "batch waits 80%"


def test_a_culprit_that_waits_for_nobody_in_particular_is_first_told_as_a_culprit() -> None:
    found = attributed(evidence(BATCH, Suspect(SuspectKind.DIFFUSE), 0.9), evidence(API, BATCH, 0.2))
    assert why_parts(found, BATCH, sentence, name)[0].startswith("batch hurts api")


def test_its_own_quota_is_told_too() -> None:
    found = attributed(evidence(API, Suspect(SuspectKind.OWN_QUOTA), 0.9))
    assert why_parts(found, API, sentence, name) == ["api waits 80%", "it is own quota"]


def test_nothing_to_say_is_no_line() -> None:
    assert why_parts(NO_ATTRIBUTION, API, sentence, name) == []
    assert why_lines([], 80, 3, UNICODE) == []


def test_of_many_victims_three_are_named() -> None:
    hurt = [evidence(ContainerRef("fake", f"v{number}"), BATCH, 0.3) for number in range(5)]
    assert hurts_text(BATCH, hurt, name).endswith("v2 (waits 80% for cpu) and 2 more")


def test_parts_that_have_no_room_are_left_out_whole() -> None:
    parts = ["api waits 79% of the time", "batch holds 63% of that", "m contains it"]
    assert why_lines(parts, 80, 1, UNICODE) == [
        "WHY api waits 79% of the time · batch holds 63% of that · m contains it"
    ]
    assert why_lines(parts, 40, 1, UNICODE) == ["WHY api waits 79% of the time"]
    assert why_lines(parts, 40, 2, UNICODE) == [
        "WHY api waits 79% of the time",
        "    batch holds 63% of that",
    ]
    assert why_lines(parts, 45, 3, UNICODE)[1:] == ["    batch holds 63% of that · m contains it"]


@pytest.mark.parametrize("width", [10, 20, 39, 78])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    lines = why_lines(["x" * 50, "y" * 15, "z" * 200], width, 3, UNICODE)
    assert lines
    assert all(len(line) <= width for line in lines)
