"""The dashboard of this host as the command runs it; each frame's time is written to a file (the first argument)."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from tui.cli import verbs


async def run(path: str) -> None:
    verbs.load(verbs.ON_SCREEN["dashboard"])
    from tui.app.app import PytopApp
    from tui.cli.engine_choice import engines
    from tui.core.session import Changed, Session
    from tui.core.settings import Settings

    session = Session(engines(argparse.Namespace(services=False, engine=None)))
    with open(path, "a", buffering=1) as frames:  # noqa: ASYNC230 - before the first frame

        def note(changed: Changed) -> None:
            if Changed.FRAME in changed:
                frames.write(f"{time.monotonic():.4f}\n")

        session.subscribe(note)
        await PytopApp(session, chosen=Settings()).run_async()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
