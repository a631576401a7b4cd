"""The demo without a screen: plays stories, measures each phase, and prints tables, a scorecard or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import PytopError, UnsupportedError
from runtime.kernel import threads
from tui.demo import scorecard
from tui.demo.phases import StoryFinding, StoryResult, finding
from tui.demo.runner import StoryRunner
from tui.demo.scene import Scene, Setting, build, site
from tui.demo.stage import Stage
from tui.demo.stories import Story, StoryName, story
from tui.present import demo_text
from tui.present.messages import Message, error_text, say

Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Output:
    """Where lines go: the table and what is found, what is under way; the document, and the picture's file."""

    data: Show
    progress: Show
    json: bool = False
    svg: Path | None = None


async def prepared(stage: Stage, setting: Setting, name: StoryName) -> Story:
    """The story at this stage. Raises `UnsupportedError` with the reason where it cannot be played."""
    found = story(name, await site(stage.engine, setting))
    if found.bound and stage.why_not_bound():
        raise UnsupportedError(f"play the story '{name}'", detail=stage.why_not_bound())
    if name in (StoryName.IO, StoryName.MIXED) and not setting.device:
        raise UnsupportedError(f"play the story '{name}'", detail="the disk below the containers is not known")
    if found.link_bits:
        refused = (await stage.engine.capabilities()).limits
        reason = next((refused[limit] for rung in found.rungs for limit in rung.limits if limit in refused), None)
        if reason is not None:
            raise UnsupportedError(f"play the story '{name}'", detail=reason)
    return found


async def open_scene(stage: Stage, setting: Setting, found: Story) -> Scene:
    """Build the scene of a story, with what its containers have together."""
    return await build(stage.engine, setting, found, lambda: stage.bound(found.bound))


async def run_stories(stage: Stage, setting: Setting, names: Sequence[StoryName], output: Output) -> int:
    """Play stories one after the other; 0 only if containment helped in all that can be played here, and in one."""
    results: list[StoryResult] = []
    refused: dict[str, str] = {}
    for name in names:
        try:
            found = await prepared(stage, setting, name)
        except UnsupportedError as error:
            refused[name.value] = error.detail
            output.progress(say(Message.STORY_REFUSED, story=name, reason=error_text(error)))
            continue
        results.append(await _run(stage, setting, found, output))
    if output.svg is not None:
        await threads.acting(_write, output.svg, scorecard.svg(results))
        output.progress(say(Message.SCORECARD_WRITTEN, path=output.svg))
    if output.json:
        documents = [scorecard.document(result) for result in results]
        output.data(json.dumps({"stories": documents, "skipped": refused}, indent=2))
    helped = [finding(result)[0] is StoryFinding.HELPED for result in results]
    return 0 if helped and all(helped) else 1


async def _run(stage: Stage, setting: Setting, found: Story, output: Output) -> StoryResult:
    """Play one story and print it; its containers are removed at the end."""
    output.progress(say(Message.STORY_BEGINS, title=demo_text.STORIES[found.name].title))
    scene = await open_scene(stage, setting, found)
    try:
        result = await StoryRunner(scene, output.progress).run()
    finally:
        await scene.remove()
    if not output.json:
        lines = ("", *scorecard.table(result), "", *scorecard.scorecard(result), "", *scorecard.summary(result))
        for line in lines:
            output.data(line)
    return result


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PytopError.from_os(f"write the scorecard to {path}", error) from error
