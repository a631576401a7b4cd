"""The lesson without a container: words for everything that it shows, and what cannot be shown is skipped."""

from __future__ import annotations

import ast
import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.errors import UnsupportedError
from tests.fake_engine import FakeEngine
from tui.demo.scene import Setting
from tui.demo.teach import chapters, play
from tui.demo.teach.lesson import Fact, Lesson, Reading, Remark, Shown
from tui.present import teach_text


def test_every_chapter_fact_and_remark_has_its_words() -> None:
    assert set(chapters.CHAPTERS) == set(teach_text.CHAPTERS)
    tree = ast.parse(Path(chapters.__file__).read_text())
    found = {"Fact": set(), "Remark": set()}  # type: dict[str, set[str]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in found:
            word = node.args[0]
            found[node.func.id] |= {word.value} if isinstance(word, ast.Constant) else set()
    assert found["Fact"] | {f"ns_{name}" for name in chapters.NAMESPACES} == set(teach_text.FACTS)
    assert found["Remark"] == set(teach_text.REMARKS)


def test_the_lines_of_a_chapter_fit_into_80_columns_when_they_are_asked_to() -> None:
    facts = [("pid", "1234", "1"), ("interfaces", "eth0, " * 30, "eth0, lo"), ("boot", "b" * 36, "b" * 36)]
    rows = teach_text.fact_rows("kernel", facts, width=76)
    assert max(map(len, rows)) <= 76
    assert rows[0].endswith("in the container")
    assert all(len(line) <= 90 for chapter in teach_text.CHAPTERS.values() for line in chapter.about)


async def shows(lesson: Lesson) -> AsyncIterator[Shown]:
    yield Remark("free")
    yield Reading(0.5, 1.0)
    yield Fact("pid", "77", "1")


async def refuses(lesson: Lesson) -> AsyncIterator[Shown]:
    yield Remark("free")
    raise UnsupportedError("show it", detail="there is no freezer here")


async def hangs(lesson: Lesson) -> AsyncIterator[Shown]:
    yield Fact("pid", "77", "1")
    await asyncio.sleep(3600)


LESSON = Lesson(FakeEngine([]), Setting("image"))


async def test_a_chapter_that_cannot_be_shown_says_why_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(play, "CHAPTERS", {"namespaces": shows, "freeze": refuses})
    lines: list[str] = []
    assert await play.print_lesson(LESSON, lines.append, as_json=False) == 0
    text = "\n".join(lines)
    assert "1. A process that sees another world" in text
    assert "there is no freezer here" in text
    lines.clear()
    await play.print_lesson(LESSON, lines.append, as_json=True)
    first, second = json.loads("".join(lines))
    assert first["facts"] == [{"fact": "pid", "on the host": "77", "in the container": "1"}]
    assert first["skipped"] is None
    assert "no freezer" in second["skipped"]


async def test_a_chapter_ends_in_its_time_and_shows_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play, "CHAPTERS", {"namespaces": hangs})
    monkeypatch.setattr(play, "CHAPTER_TIMEOUT_S", 0.05)
    found = await play.play_chapter(LESSON, "namespaces", lambda _: None)
    assert found.facts == [Fact("pid", "77", "1")]
    assert "longer" in found.skipped


def test_the_two_columns_of_a_chapter_have_two_names() -> None:
    """They are keys of the JSON."""
    assert all(len(set(chapter.heads)) == 2 for chapter in teach_text.CHAPTERS.values())
