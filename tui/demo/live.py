"""The demo in the dashboard: create the containers, open the app, measure the victim alone, start the hog."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator

from runtime.engines.discovery import discover
from runtime.engines.protocol import Engine
from tui.app.app import PytopApp
from tui.core.session import Session
from tui.demo.panel import GuidePanel
from tui.demo.scene import Setting, build


def others(stage: Engine) -> list[Engine]:
    """The host's other engines, so that the dashboard shows the whole host."""
    return [engine for engine in discover() if engine.key != stage.key]


async def play(engine: Engine, setting: Setting, *, theme: str | None, ascii_only: bool, read_only: bool) -> int:
    """Run until the user quits; the exit code. The stage removes the containers."""
    scene = await build(engine, setting)
    session = Session([engine, *others(engine)], read_only=read_only, audited=True)
    app = PytopApp(session, banner=GuidePanel(session, scene), cursor=scene.hog, theme=theme, ascii_only=ascii_only)
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
