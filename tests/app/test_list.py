"""The list: sorting, filtering, selection, what is drawn again, and what it says when there is nothing to say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.model import Capabilities, ContainerKind, LimitName, Missing, State, Verb
from tests.app.driving import main, names, running, screen, selected, session_of, table, tamper, town_session, until
from tests.app.fakes import container, fixed, usage
from tests.fake_engine import FakeEngine
from tui.core.drift.detector import Drift
from tui.core.settings import Settings


async def test_the_busiest_is_first_and_those_without_a_value_are_last() -> None:
    session, _, _ = town_session()
    async with running(session) as pilot:
        order = names(pilot)
        assert order[:2] == ["database", "hog"]
        assert set(order[-2:]) == {"leaky", "old-job"}
        assert "cpu▼" in screen(pilot)


async def test_sorting_by_name_counts_and_the_same_key_turns_it_round() -> None:
    session, _, _ = town_session()
    async with running(session) as pilot:
        await pilot.press("N")
        assert names(pilot)[-3:] == ["web-1", "web-2", "web-10"]
        assert "name▲" in screen(pilot)
        await pilot.press("N")
        assert names(pilot)[:3] == ["web-10", "web-2", "web-1"]
        await pilot.press("i")
        assert names(pilot)[-3:] == ["web-1", "web-2", "web-10"]


async def test_the_sorting_moves_from_column_to_column() -> None:
    session, _, _ = town_session()
    async with running(session) as pilot:
        await pilot.press("greater_than_sign")
        assert main(pilot).sorting == ("cpu_limit", True)
        await pilot.press("less_than_sign", "less_than_sign")
        assert main(pilot).sorting == ("name", False)


async def test_numbers_that_look_the_same_keep_their_order() -> None:
    fleet = [container(name) for name in ("a", "b", "c")]
    orders = set()

    def script(number: int, targets: object) -> dict[object, object]:
        return {c.ref: usage(0.5 + 0.004 * ((number + place) % 3)) for place, c in enumerate(fleet)}

    async with running(session_of([FakeEngine(fleet)], script)) as pilot:  # type: ignore[arg-type]
        for _ in range(10):
            seen = pilot.app.session.frame.seq  # type: ignore[attr-defined]
            await until(pilot, lambda seen=seen: pilot.app.session.frame.seq > seen)  # type: ignore[attr-defined, misc]
            orders.add(tuple(names(pilot)))
    assert orders == {("a", "b", "c")}


async def test_the_selection_follows_its_container_when_the_order_changes() -> None:
    fleet = [container(name) for name in ("a", "b", "c")]
    high = {"a": 1.5, "b": 1.0, "c": 0.5}

    def script(number: int, targets: object) -> dict[object, object]:
        return {c.ref: usage(high[c.name]) for c in fleet}

    async with running(session_of([FakeEngine(fleet)], script)) as pilot:  # type: ignore[arg-type]
        await pilot.press("j")
        assert selected(pilot) == "b"
        high["b"] = 0.1
        await until(pilot, lambda: names(pilot) == ["a", "c", "b"])
        assert selected(pilot) == "b"
        assert screen(pilot).splitlines()[5].startswith("▌")


async def test_the_filter_finds_words_anywhere_and_escape_clears_it() -> None:
    session, _, _ = town_session()
    async with running(session) as pilot:
        await pilot.press("slash", *"FRONT web-2")
        await pilot.pause()
        assert names(pilot) == ["web-2"], "labels and names, all words, any case"
        assert "filter 'FRONT web-2': 1 of 8" in screen(pilot)
        await pilot.press("enter", "j")
        assert names(pilot) == ["web-2"], "enter keeps it"
        await pilot.press("escape")
        await pilot.pause()
        assert len(names(pilot)) == 8


async def test_keys_that_are_typed_into_the_filter_are_not_commands() -> None:
    session, docker, _ = town_session()
    async with running(session) as pilot:
        await pilot.press("slash", *"pqx")
        await pilot.pause()
        assert docker.asked == []
        assert "No container matches 'pqx'" in screen(pilot)


async def test_a_selected_container_that_vanishes_leaves_the_cursor_where_it_was() -> None:
    session, docker, _ = town_session()
    async with running(session) as pilot:
        await pilot.press("N")
        assert selected(pilot) == "database"
        gone = table(pilot).selected
        assert gone is not None
        docker.drop(gone)
        await until(pilot, lambda: not {"database", "gone"} & set(names(pilot)))
        assert selected(pilot) == "hog"


async def test_hiding_what_is_stopped() -> None:
    session, _, _ = town_session()
    async with running(session) as pilot:
        await pilot.press("a")
        assert len(names(pilot)) == 6
        assert "2 stopped (hidden)" in screen(pilot)
        await pilot.press("a")
        assert len(names(pilot)) == 8


async def test_only_the_rows_that_changed_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = [container(f"c{number:02}") for number in range(15)]
    load = {c.name: 1.0 for c in fleet}

    def script(number: int, targets: object) -> dict[object, object]:
        return {c.ref: usage(load[c.name]) for c in fleet}

    async with running(session_of([FakeEngine(fleet)], script)) as pilot:  # type: ignore[arg-type]
        await pilot.press("N")
        await until(pilot, lambda: pilot.app.session.frame.seq > 15)  # type: ignore[attr-defined]  # trends are full
        drawn: list[int] = []
        whole = table(pilot).render_line
        monkeypatch.setattr(table(pilot), "render_line", lambda y: drawn.append(y) or whole(y))  # type: ignore[func-returns-value]
        load["c07"] = 1.9
        seen = pilot.app.session.frame.seq  # type: ignore[attr-defined]
        await until(pilot, lambda: pilot.app.session.frame.seq >= seen + 3)  # type: ignore[attr-defined]
        assert set(drawn) == {7}


async def test_states_are_told_apart_without_colour_and_missing_values_are_gaps() -> None:
    session, _, _ = town_session()
    async with running(session) as pilot:
        lines = {name: line for line in screen(pilot).splitlines() for name in names(pilot) if f" {name} " in line}
        assert "◫ paused" in lines["batch"]
        assert "● unhealthy" in lines["web-10"]
        assert "○ exited 1" in lines["old-job"]
        assert "○ oom-killed" in lines["leaky"]
        assert "–/–" in lines["leaky"]
        assert "0" not in lines["leaky"]
        assert "max" in lines["web-2"]


async def test_an_engine_that_dies_and_comes_back() -> None:
    session, docker, _ = town_session()
    async with running(session) as pilot:
        docker.away = True
        await until(pilot, lambda: "docker cannot be reached" in screen(pilot))
        assert "? unknown" in screen(pilot), "its containers stay in sight"
        assert "Start it" in screen(pilot)
        docker.away = False
        await until(pilot, lambda: "? unknown" not in screen(pilot))
        assert "! docker" not in screen(pilot)


async def test_an_empty_host_says_how_to_begin() -> None:
    async with running(session_of([FakeEngine()], lambda number, targets: {})) as pilot:
        await until(pilot, lambda: "There are no containers yet" in screen(pilot))
        assert "pytop-containers run" in screen(pilot)
        await pilot.press("enter", "x", "j", "G")
        assert "no container is selected" in str([n.message for n in pilot.app._notifications])


ODD = [
    "[red]markup[/red]",
    "日本語のコンテナ名前です長い",
    "line\nbreak\ttab\x1b[31m",
    "e\u0301combining",
    "\u202ertl",
    "",
    "-" * 300,
]


async def test_odd_names_do_not_break_the_lines() -> None:
    fleet = [replace(container(f"n{number}"), name=name) for number, name in enumerate(ODD)]
    session = session_of([FakeEngine(fleet)], lambda number, targets: {c.ref: usage() for c in fleet})
    async with running(session) as pilot:
        await pilot.press("N")
        text = screen(pilot)
        assert "[red]markup[/re…" in text
        assert "écombining" in text
        assert "\x1b" not in text
        strips = pilot.app.screen._compositor.render_strips()
        assert {strip.cell_length for strip in strips} == {80}
        ends = [strip.text.rstrip()[-3:] for strip in strips if "running" in strip.text]
        assert ends == ["12%"] * len(ODD), "the last column is where it was"
        await pilot.press("question_mark")
        await pilot.pause()
        await pilot.press("escape", "ctrl+p")
        await pilot.pause()


@pytest.mark.parametrize("size", [(40, 10), (20, 5), (10, 3), (300, 80)])
async def test_any_size_of_terminal(size: tuple[int, int]) -> None:
    session, _, _ = town_session()
    async with running(session, size) as pilot:
        await pilot.press("j", "G", "g", "question_mark", "escape", "slash", "w", "escape")
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "thrtl" in screen(pilot))


async def test_a_long_list_scrolls_with_the_cursor() -> None:
    fleet = [container(f"c{number:03}") for number in range(200)]
    session = session_of([FakeEngine(fleet)], lambda number, targets: {c.ref: usage() for c in fleet})
    async with running(session) as pilot:
        await pilot.press("N", "G")
        await pilot.pause()
        assert selected(pilot) == "c199"
        assert " c199 " in screen(pilot)
        await pilot.press("g", "pagedown", "pagedown")
        await pilot.pause()
        assert " c000 " not in screen(pilot)
        await pilot.click("#table", offset=(5, 3))
        await pilot.pause()
        assert f" {selected(pilot)} " in screen(pilot).splitlines()[6]


async def test_columns_of_ones_own() -> None:
    session, _, _ = town_session()
    async with running(session, chosen=Settings(columns=("name", "anon", "swap"))) as pilot:
        assert screen(pilot).splitlines()[2].split() == ["name", "anon", "swap"]


async def test_a_container_that_appears_is_listed_at_once() -> None:
    session, docker, _ = town_session()
    async with running(session) as pilot:
        docker.put(container("newcomer", engine="docker", state=State.CREATED))
        await until(pilot, lambda: "newcomer" in names(pilot))
        assert "◌ created" in screen(pilot)


async def test_the_mouse_sorts_and_opens_too() -> None:
    session, _, _ = town_session()
    async with running(session) as pilot:
        await pilot.click("#heads", offset=(16, 0))
        assert main(pilot).sorting == ("name", False)
        await pilot.click("#table", offset=(16, 2), times=2)
        await until(pilot, lambda: pilot.app.screen is not main(pilot))
        assert selected(pilot) == "hog"


async def test_a_terminal_that_is_behind_gets_a_later_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = [container("a")]
    load = {"cpu": 0.25}
    session = session_of([FakeEngine(fleet)], lambda number, targets: {fleet[0].ref: usage(load["cpu"])})
    async with running(session) as pilot:
        monkeypatch.setattr(type(pilot.app), "behind", True)
        load["cpu"] = 1.75
        seen = session.frame.seq if session.frame else 0
        await until(pilot, lambda: session.frame is not None and session.frame.seq > seen + 2)
        assert "0.25/2.00" in screen(pilot)
        monkeypatch.setattr(type(pilot.app), "behind", False)
        await until(pilot, lambda: "1.75/2.00" in screen(pilot))


async def test_what_is_no_container_says_so_before_its_name() -> None:
    there = [
        container("db", kind=ContainerKind.VM),
        container("sshd.service", kind=ContainerKind.SERVICE),
        container("web"),
    ]
    async with running(session_of([FakeEngine(there)], fixed({}, there))) as pilot:
        rows = {row.text.split()[2] for row in table(pilot)._rows}
        assert rows == {"vm:db", "svc:sshd.service", "web"}


async def test_a_limit_that_somebody_else_has_changed_marks_the_row_until_it_is_accepted() -> None:
    there = [container("web"), container("db")]
    session = session_of([FakeEngine(there)], fixed({}, there))
    async with running(session) as pilot:
        tamper(session, there[0].ref, Drift(LimitName.MEMORY, 1 << 20, 2 << 20, 1))
        await until(pilot, lambda: "!web" in screen(pilot))
        assert "!db" not in screen(pilot)
        session.accept(there[0].ref)
        await until(pilot, lambda: "!web" not in screen(pilot))


async def test_the_cursor_begins_on_the_top_row_once_it_is_known_which_that_is() -> None:
    there = [container(name) for name in ("a", "b", "c")]
    uses = {"a": usage(0.1), "b": usage(0.2), "c": usage(1.9)}
    script = fixed(uses, there)
    unknown = {name: use._replace(cpu=Missing.NOT_SAMPLED) for name, use in uses.items()}
    first = fixed(unknown, there)
    session = session_of([FakeEngine(there)], lambda n, targets: (first if n < 3 else script)(n, targets))
    async with running(session) as pilot:
        await until(pilot, lambda: names(pilot) == ["c", "b", "a"])
        assert selected(pilot) == "c"


async def test_the_cursor_stays_where_the_user_has_put_it() -> None:
    there = [container(name) for name in ("a", "b", "c")]
    ready = False
    script = fixed({"a": usage(0.1), "b": usage(0.2), "c": usage(1.9)}, there)
    session = session_of([FakeEngine(there)], lambda n, targets: script(n, targets) if ready else {})
    async with running(session) as pilot:
        await pilot.press("down")
        assert selected(pilot) == "b"
        ready = True
        await until(pilot, lambda: names(pilot) == ["c", "b", "a"])
        assert selected(pilot) == "b"


async def test_what_can_be_limited_is_not_only_watched() -> None:
    unable = {Verb.START: "nobody knows how"}
    engine = FakeEngine([container("web")], capabilities=Capabilities(verbs=unable))
    async with running(session_of([engine], fixed({}, []))) as pilot:
        assert "watching only" not in screen(pilot)
    engine = FakeEngine([container("web")], capabilities=Capabilities(verbs=dict.fromkeys(Verb, "no rights")))
    async with running(session_of([engine], fixed({}, []))) as pilot:
        assert "watching only" in screen(pilot)
        await pilot.press("question_mark")
        await until(pilot, lambda: "fake can only be watched: no rights" in screen(pilot))


async def test_the_help_is_wrapped_under_its_text() -> None:
    there = [container("web")]
    async with running(session_of([FakeEngine(there)], fixed({}, there))) as pilot:
        await pilot.press("question_mark")
        await until(pilot, lambda: "Change limits" in screen(pilot))
        rows = [line.strip("│ \n") for line in screen(pilot).splitlines()]
        at = next(n for n, row in enumerate(rows) if "Change limits" in row)
        after = screen(pilot).splitlines()[at + 1]
        assert after.startswith("│" + " " * 19)
        assert "the kernel" in after
