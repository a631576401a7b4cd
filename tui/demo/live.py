"""The demo in the dashboard: create the containers, open the app with the guide, which leads through the steps."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

import tui.app.app
from runtime.engines.discovery import discover
from runtime.engines.protocol import Engine
from tui.app.app import PytopApp
from tui.core.session import Session
from tui.demo.choice import StoryChoice
from tui.demo.headless import open_scene, prepared
from tui.demo.panel import NEXT_KEY, SKIP_KEY, GuidePanel
from tui.demo.scene import Setting
from tui.demo.stage import Stage
from tui.demo.stories import StoryName
from tui.demo.teach.lesson import Lesson
from tui.demo.teach.screen import LessonApp

APP_FOLDER = Path(tui.app.app.__file__).parent


class DemoApp(PytopApp):
    """The dashboard with the guide's two keys."""

    CSS_PATH: ClassVar[list[str]] = [str(APP_FOLDER / path) for path in PytopApp.CSS_PATH]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(NEXT_KEY, "demo_next", show=False),
        Binding(SKIP_KEY, "demo_skip", show=False),
    ]

    def action_demo_next(self) -> None:
        """Do the guide's next step."""
        self._guide.do_next()

    def action_demo_skip(self) -> None:
        """Leave the guide's next step out."""
        self._guide.skip_next()

    @property
    def _guide(self) -> GuidePanel:
        return self.screen_stack[0].query_one(GuidePanel)


def others(stage: Engine) -> list[Engine]:
    """The host's other engines, so that the dashboard shows the whole host."""
    return [engine for engine in discover() if engine.key != stage.key]


async def choose() -> str | None:
    """Ask for a story; None when the user leaves."""
    return await StoryChoice().run_async()


async def teach(stage: Stage, setting: Setting, *, ascii_only: bool) -> int:
    """The lesson, until the user quits."""
    return await LessonApp(Lesson(stage.engine, setting), ascii_only=ascii_only).run_async() or 0


async def play(
    stage: Stage, setting: Setting, name: StoryName, *, theme: str | None, ascii_only: bool, read_only: bool
) -> int:
    """Run until the user quits; the exit code. The stage removes the containers."""
    scene = await open_scene(stage, setting, await prepared(stage, setting, name))
    session = Session([stage.engine, *others(stage.engine)], read_only=read_only, audited=True)
    panel = GuidePanel(session, scene, ascii_only=ascii_only)
    app = DemoApp(session, banner=panel, cursor=scene.hog, theme=theme, ascii_only=ascii_only)
    with _quit_on_hangup(app):
        await app.run_async()
    return app.return_code or 0


@contextlib.contextmanager
def _quit_on_hangup(app: PytopApp) -> Iterator[None]:
    """Quit the app on SIGTERM and SIGHUP, as on q."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, app.leave)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # the stage must be cleared completely
