"""The words for a container's state, the same in the list, on its screen, in `ps` and in `stats`; restart loops."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len

from collectors.history.rings import History
from collectors.sampling.frame import Frame, HostUsage
from runtime.errors import ConflictError, UnsupportedError
from runtime.model import Container, Missing, State
from tests.app.fakes import container, usage
from tui.cli import listing, output, stats
from tui.core.inspector import Inspector
from tui.present import glyphs
from tui.present.container_text import details, headline
from tui.present.fields import FIELDS
from tui.present.messages import Message, say
from tui.present.state_text import MIN_LOOP_RESTARTS, RESTART_LOOP_S, is_restart_loop, state_text
from tui.present.table import DEFAULT_COLUMNS, RowStyle, columns, row, row_style
from tui.present.unmeasured_text import unmeasured_lines, why_unmeasured

S_NS = 10**9


def looping(ago_s: float = 2.0, **more: Any) -> Container:
    known: dict[str, Any] = {"restarts": 3, "last_exit_code": 1, "restart_policy": "always"}
    return replace(container("web"), started_ns=time.time_ns() - round(ago_s * S_NS), **(known | more))


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({}, "restarting (3, last exit 1)"),
        ({"state": State.RESTARTING}, "restarting (3, last exit 1)"),
        ({"state": State.RESTARTING, "restarts": None}, "restarting (last exit 1)"),
        ({"state": State.RESTARTING, "restarts": None, "last_exit_code": None}, "restarting"),
        ({"last_exit_code": None}, "restarting (3)"),
        ({"restarts": MIN_LOOP_RESTARTS - 1}, "running"),
        ({"ago_s": RESTART_LOOP_S + 5}, "running"),
        ({"ago_s": RESTART_LOOP_S + 5, "health": "unhealthy"}, "unhealthy"),
        ({"state": State.EXITED, "exit_code": 1}, "exited 1"),
        ({"state": State.PAUSED}, "paused"),
    ],
)
def test_a_restart_loop_is_no_healthy_container(changed: dict[str, Any], text: str) -> None:
    assert state_text(looping(**changed)) == text


def test_a_row_that_restarts_often_is_marked_by_colour_and_sign() -> None:
    loop, well = looping(), looping(RESTART_LOOP_S + 5)
    assert row_style(loop, usage()) is RowStyle.CRITICAL
    assert row_style(replace(loop, state=State.RESTARTING, pid=None), None) is RowStyle.CRITICAL
    assert row_style(well, usage()) is RowStyle.NORMAL
    signs = glyphs.UNICODE
    text = row(loop, usage(), columns(199, DEFAULT_COLUMNS, [loop]), History(), signs).text
    assert f"{signs.states[State.RESTARTING]} restarting (3, last exit 1)" in text


def test_restart_count_and_last_exit_are_everywhere() -> None:
    loop = looping()
    assert "restarting (3, last exit 1)" in headline(loop, glyphs.UNICODE, gone=False)
    assert "restarted 3 times by its policy always  last exit 1" in details(loop)
    assert FIELDS["restarts"].extract(loop, None) == 3
    assert FIELDS["restarts"].extract(replace(loop, restarts=None), None) is Missing.UNSUPPORTED
    document = listing.as_json(loop)
    assert (document["restarts"], document["last_exit_code"]) == (3, 1)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"health": "unhealthy"},
        {"health": "starting"},
        {"state": State.EXITED, "exit_code": 137, "oom_killed": True},
        {"state": State.EXITED, "exit_code": 3},
        {"restarts": 9, "started_ns": time.time_ns()},
    ],
)
def test_ps_stats_and_the_list_have_the_same_words(
    changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The four places are `ps`, `stats`, the list's column and the head of the container's screen."""
    one = replace(container("web"), **changed)
    tables: list[list[str]] = []

    def table(heads: Sequence[str], rows: Sequence[Sequence[str]], **_: object) -> None:
        tables.append([rows[0][[head.casefold() for head in heads].index("state")]])

    monkeypatch.setattr(output, "table", table)
    monkeypatch.setattr(stats.output, "table", table)
    frame = Frame(1, 0, 0, S_NS, 0, HostUsage(ncpu=1), usages={})
    arguments = type("Arguments", (), {"json": False, "once": True})()
    stats._show(arguments, None, frame, [one])  # type: ignore[arg-type]
    words = FIELDS["state"].extract(one, None)
    assert tables == [[words]]
    assert words in listing._row(one, whole=False)
    if one.state.live:
        assert str(words) in headline(one, glyphs.UNICODE, gone=False)


def test_runs_too_short_for_two_sweeps_are_said_to_be() -> None:
    frame = Frame(1, 0, 0, S_NS, 0, HostUsage(ncpu=1), usages={})
    loop = looping()
    assert is_restart_loop(loop)
    assert why_unmeasured(loop, frame) == say(Message.SHORT_RUNS)
    assert why_unmeasured(loop, replace(frame, usages={loop.ref: usage(Missing.NOT_SAMPLED)})) == say(
        Message.SHORT_RUNS
    )
    assert why_unmeasured(loop, replace(frame, usages={loop.ref: usage()})) == ""
    assert why_unmeasured(container("web"), frame) == ""


def test_a_container_that_cannot_be_measured_says_why() -> None:
    one = container("web")
    frame = Frame(1, 0, 0, S_NS, 0, HostUsage(ncpu=1), usages={}, problems={one.ref: "may not be read"})
    assert why_unmeasured(one, frame) == "may not be read"
    assert why_unmeasured(replace(one, unplaced="it is elsewhere"), None) == "it is elsewhere"
    assert why_unmeasured(replace(one, unplaced="it is elsewhere", state=State.EXITED), None) == ""


@pytest.mark.parametrize("signs", [glyphs.UNICODE, glyphs.ASCII])
@pytest.mark.parametrize("width", [79, 119, 199])
def test_the_row_says_why_over_its_gaps_and_keeps_its_width(width: int, signs: glyphs.Glyphs) -> None:
    one = replace(container("web"), unplaced="its engine runs in a virtual machine")
    layout = columns(width, DEFAULT_COLUMNS, [one])
    plain = row(one, None, layout, History(), signs).text
    text = row(one, None, layout, History(), signs, why=one.unplaced).text
    assert "its engine runs in a virtual" in text
    assert "virtual" not in plain
    assert cell_len(text) == cell_len(plain)
    assert text.startswith(plain[:30]), "state and name stay"
    counted = row(one, usage(0.75, memory=Missing.UNSUPPORTED), layout, History(), signs, why=one.unplaced).text
    assert "0.75" in counted, "what is measured stays"


def test_an_engine_of_which_nothing_can_be_measured_is_one_line() -> None:
    """In the list's head, in the help and in `stats`: a container among others says it in its own row only."""
    hidden = [replace(container(name), unplaced="this program runs in a container") for name in ("a", "b")]
    (line,) = unmeasured_lines([*hidden, container("c", engine="podman"), container("d", state=State.EXITED)])
    assert line == say(Message.ENGINE_UNMEASURED, engine="fake", reason="this program runs in a container")
    assert unmeasured_lines([*hidden, container("c")]) == []


async def test_looking_into_one_whose_processes_are_not_known_says_why() -> None:
    one = replace(container("lost"), pid=None, unplaced="its engine runs in a virtual machine")
    for look in (Inspector().processes, Inspector().isolation):
        with pytest.raises(UnsupportedError, match="its engine runs in a virtual machine"):
            await look(one)
        with pytest.raises(UnsupportedError, match="not known"):
            await look(replace(one, unplaced=""))
        with pytest.raises(ConflictError, match="not running"):
            await look(replace(one, state=State.EXITED, unplaced=""))
