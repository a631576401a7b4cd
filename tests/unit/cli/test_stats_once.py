"""`stats --once` ends with an error when there can be no frame."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from collectors.sampling.frame import Frame
from collectors.sampling.target import Target
from tests.app.fakes import FakeSweeper, container, fixed, usage
from tests.fake_engine import FakeEngine
from tui.cli import exits, stats
from tui.core.session import Session

ARGUMENTS = argparse.Namespace(containers=[], interval=0.1, groups=False, json=False, once=True)


class BrokenSweeper(FakeSweeper):
    """No sweep succeeds."""

    def sweep(self, targets: Sequence[Target]) -> Frame:
        raise ValueError("not sure how to interpret line")


async def run(sweeper: FakeSweeper, monkeypatch: pytest.MonkeyPatch) -> int:
    @contextlib.asynccontextmanager
    async def session(args: argparse.Namespace) -> AsyncIterator[Session]:
        opened = Session([FakeEngine([container("web")])], sweeper=sweeper)  # type: ignore[arg-type]
        await opened.refresh()
        yield opened
        await opened.close()

    monkeypatch.setattr(stats, "session", session)
    async with asyncio.timeout(5):
        return await stats._stats(ARGUMENTS)


async def test_without_a_frame_it_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(BrokenSweeper(lambda *_: {}), monkeypatch) == exits.FAILED
    assert "measuring failed: not sure how to interpret line" in capsys.readouterr().err


async def test_with_two_frames_it_prints_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    web = container("web")
    assert await run(FakeSweeper(fixed({"web": usage(0.75)}, [web])), monkeypatch) == exits.OK
    assert capsys.readouterr().out.count("web") == 1


@pytest.mark.parametrize("width", [20, 80, 132, 400])
async def test_on_a_terminal_no_row_is_wider_than_it(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`ps`, the other wide table, shortens its texts; into a pipe both are whole."""
    monkeypatch.setattr(stats.sys.stdout, "isatty", lambda: True, raising=False)  # type: ignore[attr-defined]
    monkeypatch.setenv("COLUMNS", str(width))
    web = container("web")
    assert await run(FakeSweeper(fixed({"web": usage(0.75)}, [web])), monkeypatch) == exits.OK
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert "NAME" in lines[0]
    assert ("WRITE" in lines[0]) == (width >= 132), "the columns that matter least go first"
