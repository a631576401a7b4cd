"""A container that is made anew under its name is the same to the user: the page and the cursor follow the name."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from runtime.model import Container, ContainerRef, LogLine
from tests.app.driving import names, running, screen, selected, session_of, until
from tests.app.fakes import container, usage
from tests.fake_engine import FakeEngine
from tui.app.screens.detail import DetailScreen
from tui.core.successor import successor

MADE_NS = 1_700_000_000 * 10**9
CLOCK = time.strftime("%H:%M:%S", time.localtime(MADE_NS // 10**9))


def anew(old: Container) -> Container:
    """The same name with another id and a pid of its own."""
    return replace(old, ref=ContainerRef(old.ref.engine, old.ref.id[::-1]), created_ns=MADE_NS, pid=4242)


def town() -> tuple[FakeEngine, dict[str, Container]]:
    there = {name: container(name) for name in ("a", "web", "z")}
    return FakeEngine(there.values()), there


def test_only_the_same_engine_and_name_succeed() -> None:
    web = container("web", engine="docker")
    new = anew(web)
    assert successor(web, [web, container("db", engine="docker"), container("web", engine="podman"), new]) is new
    assert successor(web, [web]) is None
    assert successor(replace(web, name=""), [replace(new, name="")]) is None


async def test_the_page_follows_the_name_and_says_when_it_was_made() -> None:
    """Looked for elsewhere: the pages, which each hold a ref; the cursor of the list (below). A dialog does not follow:
    what was confirmed is about the container that was seen."""
    engine, there = town()
    asked: list[str] = []

    async def logs(key: str, **options: Any) -> AsyncIterator[LogLine]:
        asked.append(key)
        yield LogLine("stdout", 0, f"log of {key[:6]}".encode())

    engine.logs = logs  # type: ignore[method-assign, assignment]
    session = session_of([engine], lambda number, targets: {t.ref: usage(0.5) for t in targets})
    async with running(session) as pilot:
        await pilot.press("down", "o")
        await until(pilot, lambda: asked == [there["web"].ref.id])
        new = anew(there["web"])
        engine.drop(there["web"].ref)
        await until(pilot, lambda: "gone" in screen(pilot).splitlines()[0])
        engine.put(new)
        await until(pilot, lambda: f"made anew {CLOCK}" in screen(pilot).splitlines()[0])
        assert f"id {new.ref.short}" in screen(pilot)
        assert "gone" not in screen(pilot).splitlines()[0]
        await until(pilot, lambda: f"log of {new.ref.id[:6]}" in screen(pilot))
        assert isinstance(pilot.app.screen, DetailScreen)
        assert pilot.app.screen.ref == new.ref
        assert all(pane.ref == new.ref for pane in pilot.app.screen._panes.values())


async def test_the_cursor_follows_the_name() -> None:
    engine, there = town()
    session = session_of([engine], lambda number, targets: {t.ref: usage(0.5) for t in targets})
    async with running(session) as pilot:
        await pilot.press("down")
        assert selected(pilot) == "web"
        engine.drop(there["web"].ref)
        await until(pilot, lambda: len(names(pilot)) == 2)
        engine.put(anew(there["web"]))
        await until(pilot, lambda: selected(pilot) == "web")


async def test_a_cursor_that_was_moved_meanwhile_stays() -> None:
    engine, there = town()
    session = session_of([engine], lambda number, targets: {t.ref: usage(0.5) for t in targets})
    async with running(session) as pilot:
        await pilot.press("down")
        engine.drop(there["web"].ref)
        await until(pilot, lambda: names(pilot) == ["a", "z"])
        await pilot.press("up")
        await until(pilot, lambda: selected(pilot) == "a")
        engine.put(anew(there["web"]))
        await until(pilot, lambda: "web" in names(pilot))
        await pilot.pause(0.2)
        assert selected(pilot) == "a"
