"""The demo in the dashboard: build the scene, open the screen, measure the victim alone, start the hog."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from runtime.discovery import discover
from runtime.engine import Engine
from runtime.errors import PytopError
from tui.app import PytopApp
from tui.demo.panel import GuidePanel
from tui.demo.scene import REPORT_SECONDS, Reports, Scene, Setting, build, remove_all
from tui.session import Session

WARM_UP = 2.0  # seconds of reports that do not count
ALONE = 4.0  # seconds that the victim is measured alone


class Director:
    """Follows the victim's reports, starts the hog when the victim has been measured alone, tells the panel."""

    def __init__(self, scene: Scene, reports: Reports, panel: GuidePanel) -> None:
        self._scene = scene
        self._reports = reports
        self._panel = panel

    async def run(self) -> None:
        """Until cancelled; what goes wrong is said on the panel."""
        try:
            await self._reports.follow(self._scene.engine, self._scene.victim, self._reported)
        except PytopError as error:
            self._panel.trouble = str(error)
        else:
            self._panel.trouble = "The victim does not run any more."
        self._panel.tell()

    def _reported(self) -> None:
        enough = round((WARM_UP + ALONE) / REPORT_SECONDS)
        if self._reports.count == enough and not self._scene.hog_started:
            self._panel.alone = self._reports.recent(ALONE)
            self._starting = asyncio.create_task(self._start_hog())
        self._panel.tell()

    async def _start_hog(self) -> None:
        try:
            await self._scene.start_hog()
        except PytopError as error:
            self._panel.trouble = str(error)


class DemoApp(PytopApp):
    """The dashboard with the director behind it."""

    director: Director

    async def on_mount(self) -> None:
        """The story begins when there is a screen to tell it on."""
        self._direction = asyncio.create_task(self.director.run())

    async def on_unmount(self) -> None:
        """It ends with the screen."""
        self._direction.cancel()
        await asyncio.gather(self._direction, return_exceptions=True)


def others(stage: Engine) -> list[Engine]:
    """The engines that run here beside the stage's own, so that the dashboard shows the whole host."""
    return [engine for engine in discover() if engine.key != stage.key]


async def play(engine: Engine, setting: Setting, *, theme: str | None, ascii_only: bool, read_only: bool) -> int:
    """Play until the user quits; the exit code. The three containers are gone afterwards."""
    scene = await build(engine, setting)
    try:
        reports = Reports()
        session = Session([engine, *others(engine)], read_only=read_only)
        panel = GuidePanel(session, scene, reports)
        app = DemoApp(session, banner=panel, theme=theme, ascii_only=ascii_only)
        app.director = Director(scene, reports, panel)
        with _quit_on_hangup(app):
            await app.run_async()
        return app.return_code or 0
    finally:
        await remove_all(engine, (scene.hog, scene.victim, scene.quiet))


@contextlib.contextmanager
def _quit_on_hangup(app: DemoApp) -> Iterator[None]:
    """SIGTERM and a dropped terminal end the dashboard in the same way as q."""
    import signal

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, app.exit)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # clearing up is not to be cut short; it ends by itself
