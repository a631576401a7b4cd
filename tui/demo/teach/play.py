"""Plays chapters one after the other: what each shows goes to a callback, and why one was skipped is kept."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

from runtime.errors import PytopError
from tui.demo.teach.chapters import CHAPTERS
from tui.demo.teach.lesson import CHAPTER_TIMEOUT_S, Fact, Lesson, Reading, Shown
from tui.present import teach_text
from tui.present.messages import Message, error_text, say


@dataclass(slots=True)
class ChapterResult:
    """What a chapter has shown; `skipped` is why it could not be shown, "" where it could."""

    chapter: str
    facts: list[Fact] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    skipped: str = ""

    def rows(self, width: int = 0) -> list[str]:
        """The facts as lines."""
        facts = [(fact.id, fact.host, fact.inside) for fact in self.facts]
        return teach_text.fact_rows(self.chapter, facts, width=width)


async def play_chapter(lesson: Lesson, chapter: str, show: Callable[[Shown], None]) -> ChapterResult:
    """Play one chapter; its container is gone afterwards. What cannot be shown here is a reason, no error."""
    result = ChapterResult(chapter)
    shown: AsyncIterator[Shown] = CHAPTERS[chapter](lesson)
    try:
        async with asyncio.timeout(CHAPTER_TIMEOUT_S), contextlib.aclosing(cast("AsyncGenerator[Shown, None]", shown)):
            async for each in shown:
                if isinstance(each, Fact):
                    result.facts.append(each)
                elif isinstance(each, Reading):
                    result.readings.append(each)
                show(each)
    except PytopError as error:
        result.skipped = f"{error.title}: {error_text(error)}"
    except TimeoutError:
        result.skipped = say(Message.CHAPTER_TIMEOUT, seconds=CHAPTER_TIMEOUT_S)
    return result


async def print_lesson(lesson: Lesson, data: Callable[[str], None], *, as_json: bool) -> int:
    """Play all chapters without a screen; 0 when at least one could be shown."""
    results: list[ChapterResult] = []
    for number, chapter in enumerate(CHAPTERS, 1):
        words = teach_text.CHAPTERS[chapter]
        result = await play_chapter(lesson, chapter, lambda _: None)
        results.append(result)
        if as_json:
            continue
        for line in (say(Message.CHAPTER, number=number, title=words.title), *words.about):
            data(line)
        if result.skipped:
            data(say(Message.CHAPTER_SKIPPED, reason=result.skipped))
        else:
            for line in result.rows():
                data(f"  {line}")
        data("")
    if as_json:
        data(json.dumps([_document(result) for result in results], indent=2))
    return 0 if any(not result.skipped for result in results) else 1


def _document(result: ChapterResult) -> dict[str, Any]:
    first, second = teach_text.CHAPTERS[result.chapter].heads
    return {
        "chapter": result.chapter,
        "skipped": result.skipped or None,
        "facts": [{"fact": fact.id, first: fact.host, second: fact.inside} for fact in result.facts],
        "readings": [[reading.at_s, reading.value] for reading in result.readings],
    }
