"""The matrix as text: who is where, in steady places, and what each cell says."""

from __future__ import annotations

from collectors.attribution.evidence import NO_ATTRIBUTION, Confidence, Resource, Suspect, SuspectKind
from runtime.model import Ref
from tests.evidence import API, BATCH, WEB, attributed, evidence
from tui.present.glyphs import UNICODE
from tui.present.matrix import matrix
from tui.present.table import RowStyle


def name(ref: Ref) -> str:
    return ref.id


def test_victims_down_and_suspects_across_the_worst_first() -> None:
    found = matrix(
        attributed(evidence(WEB, BATCH, 0.3), evidence(API, BATCH, 0.63), evidence(WEB, API, 0.1)), name, 80, UNICODE
    )
    assert found.head.split() == ["batch", "api"]
    assert [row.ref for row in found.rows] == [API, WEB]
    assert [row.text.split() for row in found.rows] == [["api", "63%", "cpu", "–"], ["web", "30%", "cpu", "10%", "cpu"]]
    assert [row.style for row in found.rows] == [RowStyle.THROTTLED, RowStyle.THROTTLED]


def test_the_head_stands_over_its_cells() -> None:
    found = matrix(attributed(evidence(API, BATCH, 0.63), evidence(API, WEB, 0.2)), name, 80, UNICODE)
    text = " " + found.rows[0].text  # the cursor's cell
    for word, figure in (("batch", "63% cpu"), ("web", "20% cpu")):
        assert found.head.index(word) + len(word) == text.index(figure) + len(figure)


def test_of_several_resources_the_cell_has_the_worst() -> None:
    found = matrix(
        attributed(evidence(API, BATCH, 0.2), evidence(API, BATCH, 0.4, resource=Resource.IO)), name, 80, UNICODE
    )
    assert "40% io" in found.rows[0].text


def test_how_sure_it_is_is_a_sign() -> None:
    signs = {Confidence.SUSPECTED: "50%? cpu", Confidence.STRONG: "50% cpu", Confidence.CONFIRMED: "50%! cpu"}
    for confidence, text in signs.items():
        found = matrix(attributed(evidence(API, BATCH, 0.5, confidence=confidence)), name, 80, UNICODE)
        assert found.rows[0].text.endswith(" " + text)


def test_what_blames_nobody_has_one_column_for_all_victims() -> None:
    quota = Suspect(SuspectKind.OWN_QUOTA)
    program = Suspect(SuspectKind.PROCESS, name="cc1plus", pid=42)
    found = matrix(
        attributed(evidence(API, quota, 0.5), evidence(WEB, quota, 0.4), evidence(WEB, program, 0.1)),
        name,
        80,
        UNICODE,
    )
    assert "own quota" in found.head
    assert found.head.count("own quota") == 1
    assert "cc1plus" in found.head


def test_what_has_no_room_is_counted() -> None:
    suspects = [Suspect(SuspectKind.UNIT, name=f"unit{number}") for number in range(9)]
    found = matrix(attributed(*(evidence(API, each, 0.3) for each in suspects)), name, 80, UNICODE)
    assert found.left_out == 9 - 5
    assert all(len(" " + row.text) <= 80 for row in found.rows)


def test_a_little_more_or_less_moves_nothing() -> None:
    for scores in ((0.31, 0.33), (0.33, 0.31)):
        found = matrix(attributed(evidence(API, BATCH, scores[0]), evidence(WEB, BATCH, scores[1])), name, 80, UNICODE)
        assert [row.ref for row in found.rows] == [API, WEB]


def test_nobody_waits() -> None:
    assert matrix(NO_ATTRIBUTION, name, 80, UNICODE).rows == ()
