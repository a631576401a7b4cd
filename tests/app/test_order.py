"""The order of the rows stands still while the user acts on what is seen, and every dialog says what it is about."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.pilot import Pilot
from textual.widgets import Static
from textual.widgets._toast import Toast

from runtime.model import Missing
from tests.app.driving import main, names, question, running, screen, selected, session_of, until
from tests.app.fakes import container, fixed, usage
from tests.fake_engine import FakeEngine
from tui.app.screens import list as list_module
from tui.app.screens.limit_editor import LimitEditor
from tui.present.row_order import ORDER_HOLD_S

FLEET = [container(name) for name in ("a", "b", "c")]


@asynccontextmanager
async def swapping() -> AsyncIterator[tuple[Pilot[None], dict[str, float]]]:
    """The app on three containers, and what CPU they use from the next sweep on."""
    cpu = {"a": 1.5, "b": 1.0, "c": 0.5}
    session = session_of([FakeEngine(FLEET)], lambda number, targets: {c.ref: usage(cpu[c.name]) for c in FLEET})
    async with running(session) as pilot:
        await until(pilot, lambda: names(pilot) == ["a", "b", "c"])
        yield pilot, cpu


async def sweeps(pilot: Pilot[None], count: int = 3) -> None:
    """Wait until so many more were drawn."""
    session = pilot.app.session  # type: ignore[attr-defined]
    last = session.frame.seq + count
    await until(pilot, lambda: session.frame.seq >= last)


async def test_rows_do_not_swap_after_a_key_until_it_is_long_ago() -> None:
    """Four Ups and `l` opened the limits of another container. Looked for elsewhere: members of a group, which are
    arranged by the same function; the pages of the container's screen have a fixed order."""
    async with swapping() as (pilot, cpu):
        pressed = time.monotonic()
        await pilot.press("down")
        cpu["c"] = 1.9
        await sweeps(pilot)
        assert names(pilot) == ["a", "b", "c"]
        await until(pilot, lambda: names(pilot) == ["c", "a", "b"])
        assert time.monotonic() - pressed >= ORDER_HOLD_S
        assert selected(pilot) == "b"


async def test_a_click_holds_the_order_too() -> None:
    async with swapping() as (pilot, cpu):
        await pilot.click("#table", offset=(5, 1))
        assert selected(pilot) == "b"
        cpu["c"] = 1.9
        await sweeps(pilot)
        assert names(pilot) == ["a", "b", "c"]


async def test_rows_do_not_swap_below_a_dialog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_module, "ORDER_HOLD_S", 0.0)
    async with swapping() as (pilot, cpu):
        await pilot.press("l")
        await until(pilot, lambda: isinstance(pilot.app.screen, LimitEditor))
        cpu["c"] = 1.9
        await sweeps(pilot)
        assert names(pilot) == ["a", "b", "c"]
        await pilot.press("escape")
        await until(pilot, lambda: names(pilot) == ["c", "a", "b"])


async def test_sorting_by_key_does_not_wait() -> None:
    async with swapping() as (pilot, _):
        await pilot.press("i")
        assert names(pilot) == ["c", "b", "a"]


async def test_a_row_that_is_new_comes_last_while_the_order_stands() -> None:
    engine = FakeEngine(FLEET[1:])
    session = session_of([engine], fixed({"a": usage(1.5), "b": usage(1.0), "c": usage(0.5)}, FLEET))
    async with running(session) as pilot:
        await until(pilot, lambda: names(pilot) == ["b", "c"])
        await pilot.press("down")
        engine.put(FLEET[0])
        await until(pilot, lambda: len(names(pilot)) == 3)
        assert names(pilot) == ["b", "c", "a"]


async def test_the_cursor_waits_on_the_first_row_while_containers_are_found() -> None:
    """It sat in the middle of the list for two seconds, where the first container that was found had come to be."""
    engine = FakeEngine([FLEET[1]])
    unknown = usage(Missing.NOT_SAMPLED)
    session = session_of([engine], lambda number, targets: {c.ref: unknown for c in FLEET})
    async with running(session) as pilot:
        assert selected(pilot) == "b"
        engine.put(FLEET[0])
        await until(pilot, lambda: names(pilot) == ["a", "b"])
        assert selected(pilot) == "a"


async def test_each_dialog_names_its_target_and_its_figures() -> None:
    twin = container("a", engine="docker", image="nginx")
    session = session_of([FakeEngine([twin], key="docker")], lambda number, targets: {twin.ref: usage(1.5)})
    async with running(session) as pilot:
        await pilot.press("x")
        await question(pilot)
        assert f"docker {twin.ref.short} · running · cpu 1.50 · mem 120M · pids 7" in screen(pilot)
        await pilot.press("n")
        await pilot.press("l")
        await until(pilot, lambda: f"docker {twin.ref.short} · running · nginx" in screen(pilot))
        row = next(line for line in screen(pilot).splitlines() if "CPU cores" in line)
        assert "1.50" in row, "the figures are in the column of what is in use"
        assert main(pilot).ref == twin.ref


async def test_the_cursor_may_begin_on_a_row_that_is_named() -> None:
    """The demo begins on the culprit, which is what its guide is about."""
    session = session_of([FakeEngine(FLEET)], fixed({"a": usage(1.5), "b": usage(1.0), "c": usage(0.5)}, FLEET))
    async with running(session, cursor=FLEET[1].ref) as pilot:
        assert (names(pilot), selected(pilot)) == (["a", "b", "c"], "b")


async def test_a_toast_does_not_cover_the_banner() -> None:
    session = session_of([FakeEngine(FLEET)], fixed({}, []))
    banner = Static("first\nsecond\nthird", id="banner")
    async with running(session, banner=banner) as pilot:
        pilot.app.notify("a toast")
        await until(pilot, lambda: "a toast" in screen(pilot))
        toast = pilot.app.screen.query_one(Toast)
        assert toast.region.bottom <= banner.region.y
