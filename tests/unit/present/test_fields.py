"""The registry of fields: raw values, their text, their order; numbers as text; what a filter matches."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from collectors.sampling.frame import Pressure
from runtime.model import UNLIMITED, GroupKind, GroupRef, Missing, State, Unlimited
from tests.app.fakes import container, usage
from tui.present import format as fmt
from tui.present.fields import FIELDS, arrange, matches, natural, rounded


def test_every_field_has_what_a_column_and_the_help_need() -> None:
    for id, field in FIELDS.items():
        assert id == field.id
        assert field.title
        assert field.about
        assert len(field.title) <= field.width, f"the head of {id} would be cut"


def test_raw_values_are_what_json_can_hold() -> None:
    for field in FIELDS.values():
        for used in (None, usage(), usage(cpu_limit=UNLIMITED, net=Missing.DENIED)):
            value = field.extract(container("a"), used)
            if not isinstance(value, Missing | Unlimited):
                json.dumps(value, allow_nan=False)


def test_what_is_not_measured_says_so_and_is_never_zero() -> None:
    for id in ("cpu", "memory", "net_rx", "io_write", "pids", "throttled_share", "pressure", "cpu_share"):
        value = FIELDS[id].extract(container("a"), None)
        assert value is Missing.NOT_SAMPLED
        assert FIELDS[id].format(value) == "-"


def test_the_reason_for_a_gap_comes_through() -> None:
    assert FIELDS["net_rx"].extract(container("a"), usage(net=Missing.DENIED)) is Missing.DENIED
    assert FIELDS["cpu_share"].extract(container("a"), usage(cpu=Missing.GONE)) is Missing.GONE
    assert FIELDS["cpu_share"].extract(container("a"), usage(cpu_limit=UNLIMITED)) is Missing.UNSUPPORTED
    assert FIELDS["pressure"].extract(container("a"), usage(pressure={})) is Missing.UNSUPPORTED
    denied = {"cpu": Pressure(Missing.DENIED), "io": Pressure(0.25)}
    assert FIELDS["pressure"].extract(container("a"), usage(pressure=denied)) == 0.25


def test_no_limit_is_a_word() -> None:
    value = FIELDS["cpu_limit"].extract(container("a"), usage(cpu_limit=UNLIMITED))
    assert value is UNLIMITED
    assert FIELDS["cpu_limit"].format(value) == "max"


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"state": State.EXITED, "exit_code": 137, "oom_killed": True}, "oom-killed"),
        ({"state": State.EXITED, "exit_code": 3}, "exited 3"),
        ({"health": "unhealthy"}, "unhealthy"),
        ({"health": "healthy"}, "running"),
        ({"state": State.PAUSED, "health": "unhealthy"}, "paused"),
    ],
)
def test_the_state_says_how_it_ended(changed: dict[str, object], text: str) -> None:
    assert FIELDS["state"].extract(replace(container("a"), **changed), None) == text  # type: ignore[arg-type]


def test_a_container_without_a_name_shows_its_id() -> None:
    nameless = replace(container("a"), name="")
    assert FIELDS["name"].extract(nameless, None) == nameless.ref.short


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1.0K"), (1536, "1.5K"), (10 << 10, "10K"), (999 << 10, "999K"), (2**30, "1.0G")],
)
def test_bytes(value: int, text: str) -> None:
    assert fmt.size(value) == text


@given(st.floats(0, 2.0**69))
def test_bytes_have_at_most_four_characters(value: float) -> None:
    assert len(fmt.size(value)) <= 4


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (1.526, "1.53"), (9.996, "10.0"), (99.96, "100"), (256, "256")]
)
def test_cores(value: float, text: str) -> None:
    assert fmt.cores(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0%"), (0.001, "<1%"), (0.005, "0%"), (0.456, "46%"), (1.7, "170%")])
def test_shares(value: float, text: str) -> None:
    assert fmt.share(value) in (text, "1%") if value == 0.005 else fmt.share(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0s"), (59.9, "59s"), (60, "1m"), (7200, "2h"), (90_000, "1d")])
def test_ages(value: float, text: str) -> None:
    assert fmt.age(value) == text


@given(st.text(max_size=60), st.integers(0, 40), st.booleans())
def test_a_cell_is_as_wide_as_its_column_whatever_is_in_it(text: str, width: int, right: bool) -> None:
    cell = fmt.fit(fmt.clean(text), width, right=right)
    assert cell_len(cell) == width
    assert cell.isprintable()


@given(st.text(max_size=30))
def test_cleaned_text_stays_on_its_line(text: str) -> None:
    cleaned = fmt.clean(text)
    assert cleaned.isprintable()
    assert fmt.clean(cleaned) == cleaned


@given(st.floats(0, 1e15), st.floats(0.001, 1e6))
def test_steady_values_keep_the_order_of_what_differs_clearly(value: float, grain: float) -> None:
    assert rounded(value, grain) <= rounded(value * 1.3 + 2 * grain, grain)


def test_names_with_numbers_are_sorted_as_people_do() -> None:
    assert sorted(["web-10", "Web-9", "db", "web-9a"], key=natural) == ["db", "Web-9", "web-9a", "web-10"]


def test_what_has_no_value_is_last_in_both_directions() -> None:
    fleet = [container("a"), container("b"), container("c")]
    uses = {fleet[0].ref: usage(0.2), fleet[2].ref: usage(1.2)}
    for falling, order in ((True, "cab"), (False, "acb")):
        assert "".join(c.name for c in arrange(fleet, uses, FIELDS["cpu"], falling=falling)) == order


def test_no_limit_is_more_than_any_limit() -> None:
    fleet = [container("a"), container("b")]
    uses = {fleet[0].ref: usage(cpu_limit=UNLIMITED), fleet[1].ref: usage(cpu_limit=64.0)}
    assert [c.name for c in arrange(fleet, uses, FIELDS["cpu_limit"], falling=True)] == ["a", "b"]


def test_equal_ones_are_in_the_order_of_names_in_both_directions() -> None:
    fleet = [container(name) for name in ("c", "a", "b")]
    uses = {c.ref: usage(0.5) for c in fleet}
    for falling in (True, False):
        assert [c.name for c in arrange(fleet, uses, FIELDS["cpu"], falling=falling)] == ["a", "b", "c"]


@pytest.mark.parametrize("words", ["WEB", "busybox", "fake", "running", "tier=front", "front", "shop", "we run", ""])
def test_a_filter_looks_everywhere(words: str) -> None:
    assert matches(container("web", labels={"tier": "front"}, group=GroupRef(GroupKind.COMPOSE, "shop")), words)


@pytest.mark.parametrize("words", ["webb", "web stopped", "tier=back"])
def test_a_filter_wants_every_word(words: str) -> None:
    assert not matches(container("web", labels={"tier": "front"}), words)


def test_the_registry_needs_no_screen_library() -> None:
    code = "import sys, tui.present.fields; print([m for m in sys.modules if m.split('.')[0] == 'textual'])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
