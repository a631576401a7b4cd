"""`demo`: real containers, one starving another, in the dashboard; without a terminal the same story as a table."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from runtime.errors import InvalidError
from runtime.kernel import threads
from tui.cli import diagnostics, exits, terminal, verbs
from tui.demo.guardian import Guardian
from tui.demo.headless import Output, run_stories
from tui.demo.scene import Setting
from tui.demo.stage import Stage, open_stage
from tui.demo.stories import ALL, TEACH, StoryName
from tui.demo.teach.lesson import Lesson
from tui.demo.teach.play import print_lesson
from tui.present.messages import Message, say


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of `demo`."""
    parser.description = (
        "Starts a victim that serves requests, a quiet neighbour, and a hog that takes what it needs, and opens the "
        "dashboard with a guide. Without a terminal it takes one rung of containment after the other, prints what "
        "each did, and exits 0 only if one helped. Everything is removed at the end, however it ends."
    )
    add = parser.add_argument
    add(
        "story",
        nargs="?",
        choices=[*StoryName, ALL, TEACH],
        metavar="STORY",
        help=f"what is fought over: {', '.join(StoryName)}, or {ALL}; {TEACH}: what a container is "
        "(default: asked for; without a screen cpu)",
    )
    add("--engine", metavar="KEY", default="embedded", help="where the containers run (default: embedded)")
    add("--headless", action="store_true", help="print the table, also on a terminal")
    add("--json", action="store_true", help="without a screen: all figures as JSON")
    add("--svg", metavar="FILE", type=Path, help="without a screen: write the scorecard as a picture")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Run it on this terminal, or without one."""
    headless = args.headless or args.json or args.svg is not None or terminal.why_no_screen() is not None
    try:
        return asyncio.run(_play(args, headless=headless))
    except asyncio.CancelledError:
        return exits.INTERRUPTED


async def _play(args: argparse.Namespace, *, headless: bool) -> int:
    if headless:
        with _cancel_on_signals():
            async with _stage(args.engine) as (stage, setting):
                if args.story == TEACH:
                    lesson = Lesson(stage.engine, setting)
                    return await print_lesson(lesson, _output(args).data, as_json=args.json)
                names = list(StoryName) if args.story == ALL else [StoryName(args.story or StoryName.CPU)]
                return await run_stories(stage, setting, names, _output(args))
    if args.story == ALL:
        raise InvalidError("play all stories on the screen", hint="Add --headless, or choose one of them")
    terminal.ensure_size()
    terminal.log_to_file()
    live = verbs.load(verbs.ON_SCREEN["demo"])
    chosen = args.story or await live.choose()
    if chosen is None:
        return exits.OK
    async with _stage(args.engine) as (stage, setting):
        ascii_only = terminal.ascii_only(args)
        code: int
        if chosen == TEACH:
            code = await live.teach(stage, setting, ascii_only=ascii_only)
        else:
            story = StoryName(chosen)
            options = {"theme": args.theme, "ascii_only": ascii_only, "read_only": args.read_only}
            code = await live.play(stage, setting, story, **options)
    diagnostics.complain(say(Message.DEMO_REMOVED))
    return code


def _output(args: argparse.Namespace) -> Output:
    """Where the lines go: those about what is under way leave stdout to the document."""

    def data(line: str) -> None:
        print(line, flush=True)

    return Output(data, diagnostics.complain if args.json else data, json=args.json, svg=args.svg)


@contextlib.asynccontextmanager
async def _stage(key: str) -> AsyncIterator[tuple[Stage, Setting]]:
    """Prepare the stage and clear it in any case; if this process is killed, a guardian process clears it."""
    instance = str(os.getpid())
    stage = open_stage(key, instance)
    guardian = await threads.acquiring(lambda: Guardian(key, instance), Guardian.dismiss, threads.Kind.WAIT)
    try:
        yield stage, await stage.prepare()
    finally:
        clearing = asyncio.ensure_future(_clear(stage))
        while not clearing.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(clearing)
        clearing.result()
        await threads.completing(guardian.dismiss)


async def _clear(stage: Stage) -> None:
    try:
        await stage.clear()
    finally:
        await stage.engine.close()


@contextlib.contextmanager
def _cancel_on_signals() -> Iterator[None]:
    """Cancel the current task on SIGTERM, SIGHUP and Ctrl-C; the stage is then cleared."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
