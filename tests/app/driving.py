"""Running the app on fakes, and reading its screen as text."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot

from runtime.engines.protocol import Engine
from runtime.model import ContainerRef
from tests import waiting
from tests.app.fakes import HOST, FakeSweeper, Script, fixed, town
from tests.fake_engine import FakeEngine
from tui.app.app import PytopApp
from tui.app.screens.confirm import ConfirmScreen
from tui.app.screens.list import ListScreen
from tui.app.widgets.table import ContainerTable
from tui.core.drift.detector import Drift
from tui.core.session import Session
from tui.core.settings import Settings

PATIENCE_S = 5.0


def town_session(**options: Any) -> tuple[Session, FakeEngine, FakeEngine]:
    """A session on the containers of `town`, with its two engines."""
    containers, uses = town()
    engines = [FakeEngine([c for c in containers if c.ref.engine == key], key=key) for key in ("docker", "embedded")]
    return session_of(engines, fixed(uses, containers), **options), engines[0], engines[1]


def session_of(engines: Sequence[Engine], script: Script, *, interval: float = 0.05, **options: Any) -> Session:
    return Session(engines, sweeper=FakeSweeper(script, HOST), interval=interval, **options)  # type: ignore[arg-type]


@asynccontextmanager
async def running(
    session: Session, size: tuple[int, int] = (80, 24), *, chosen: Settings | None = None, **options: Any
) -> AsyncIterator[Pilot[None]]:
    """The app, after its first sweeps."""
    app = PytopApp(session, chosen=chosen or Settings(), **options)
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: session.frame is not None and session.frame.seq >= 3)
        await pilot.pause()
        yield pilot


def tamper(session: Session, ref: ContainerRef, *found: Drift) -> None:
    """Somebody else has changed these limits, and no look into a kernel says anything else."""
    session._detector.judge = lambda *_: False  # type: ignore[method-assign]
    session._detector.drifts = {ref: found}
    session._drift_changed()


async def until(pilot: Pilot[Any], true: Callable[[], object]) -> None:
    """Wait for something to become true."""
    await waiting.until(
        true, PATIENCE_S, lambda: f"it happens; the screen:\n{screen(pilot)}", every_s=0.01, pause=pilot.pause
    )
    await pilot.pause()


def screen(pilot: Pilot[Any]) -> str:
    """The screen as text, without the spaces at the ends of lines."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


async def question(pilot: Pilot[Any]) -> ConfirmScreen:
    """Wait for a question that takes keys."""

    def asks() -> bool:
        top = pilot.app.screen
        return isinstance(top, ConfirmScreen) and top.listens_from_s <= time.monotonic()

    await until(pilot, asks)
    assert isinstance(pilot.app.screen, ConfirmScreen)
    return pilot.app.screen


def table(pilot: Pilot[Any]) -> ContainerTable:
    return main(pilot).table


def main(pilot: Pilot[Any]) -> ListScreen:
    """The list, also when another screen is on top of it."""
    return next(screen for screen in pilot.app.screen_stack if isinstance(screen, ListScreen))


def names(pilot: Pilot[Any]) -> list[str]:
    """The containers in the list, from top to bottom; one that has just gone is "gone"."""
    return [_name(pilot, ref) for ref in table(pilot).refs]


def selected(pilot: Pilot[Any]) -> str | None:
    """The name under the cursor."""
    ref = table(pilot).selected
    return _name(pilot, ref) if ref is not None else None


def _name(pilot: Pilot[Any], ref: ContainerRef) -> str:
    found = pilot.app.session.containers.get(ref)  # type: ignore[attr-defined]
    return found.name if found is not None else "gone"


def toasts(pilot: Pilot[Any]) -> str:
    """Everything that is told in corners now."""
    return "\n".join(f"{n.title}: {n.message}" for n in pilot.app._notifications)
