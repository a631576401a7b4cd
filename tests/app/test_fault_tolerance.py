"""Each worker, message handler, timer, callback, action and drawing of the dashboard raises once; it goes on.

Which there are is read from the code, so a new one is tried without being listed here. The same kind was looked for in
the session's tasks and callbacks (tests/unit/core/test_supervisor.py, test_observers.py).
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual import _callback
from textual.app import App
from textual.message_pump import MessagePump
from textual.pilot import Pilot
from textual.widget import Widget

from runtime.errors import EngineError
from runtime.model import GroupKind, GroupRef, Verb
from tests import waiting
from tests.app.driving import running, screen, table, toasts, town_session, until
from tui.app import fault_tolerance
from tui.app.app import PytopApp
from tui.app.screens.confirm import ConfirmScreen
from tui.app.screens.detail import DetailScreen
from tui.app.screens.help import HelpScreen
from tui.app.screens.limit_editor import LimitEditor
from tui.app.screens.list import ListScreen
from tui.app.screens.matrix import MatrixScreen
from tui.app.widgets.table import ContainerTable
from tui.core.settings import Settings

APP = Path(fault_tolerance.__file__).parent
CALLERS = frozenset({"set_interval", "set_timer", "call_after_refresh", "call_later", "call_next", "subscribe"})
DRAWINGS = frozenset({"render_line", "compose"})
OURS = frozenset({"tui.app.fault_tolerance", "tui.app.key_queue", "tui.app.services"})  # what tries them, and types

log = logging.getLogger(__name__)


class InjectedError(Exception):
    """Nothing in the dashboard expects it."""


def entries() -> Iterator[tuple[str, str, str]]:
    """Module, class and method of everything that Textual or the session calls."""
    for file in sorted(APP.rglob("*.py")):
        module = "tui.app." + ".".join(file.relative_to(APP).with_suffix("").parts)
        if module in OURS:
            continue
        for owner in ast.walk(ast.parse(file.read_text())):
            if isinstance(owner, ast.ClassDef):
                yield from ((module, owner.name, name) for name in sorted(called_from_outside(owner)))


def called_from_outside(owner: ast.ClassDef) -> Iterator[str]:
    handed = {
        argument.attr
        for call in ast.walk(owner)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in CALLERS
        for argument in call.args
        if isinstance(argument, ast.Attribute) and isinstance(argument.value, ast.Name) and argument.value.id == "self"
    }
    for node in owner.body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        decorators = {ast.unparse(each).partition("(")[0] for each in node.decorator_list}
        if "property" in decorators or "staticmethod" in decorators:
            continue
        named = node.name.startswith(("on_", "_on_", "action_")) or node.name in DRAWINGS
        if named or decorators & {"on", "work"} or node.name in handed:
            yield node.name


FOUND = list(entries())


def test_the_list_of_what_is_called_is_read_from_the_code() -> None:
    names = {f"{owner}.{name}" for _, owner, name in FOUND}
    assert {
        "PytopApp._change",  # a worker
        "PytopApp._changed",  # a subscriber
        "Logs._draw",  # a timer's
        "ListScreen.draw",  # after a refresh
        "ListScreen._filter_typed",  # a handler by decorator
        "ContainerTable.on_resize",  # a handler by name
        "Page.render_line",
        "LimitEditor.compose",
    } <= names


class Raises:
    """The method, which raises the first time it is called; `left` is how often it still will."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, times: int = 1) -> None:
        self.left = times
        original = inspect.getattr_static(owner, name)
        bound = getattr(owner, name)
        if hasattr(original, "__wrapped__") and "work" in original.__code__.co_filename.rpartition("/")[2]:

            async def fail() -> None:
                raise InjectedError(name)

            def worker(node: Any, *args: Any, **options: Any) -> Any:
                if self.left:
                    self.left -= 1
                    return node.run_worker(fail())
                return bound(node, *args, **options)

            monkeypatch.setattr(owner, name, worker)
            return

        @functools.wraps(bound)
        def method(node: Any, *args: Any, **options: Any) -> Any:
            if self.left:
                self.left -= 1
                raise InjectedError(name)
            return bound(node, *args, **options)

        monkeypatch.setattr(owner, name, method)


async def reach(pilot: Pilot[None], owner: type) -> None:
    """Open the screen that holds one of these."""
    app: Any = pilot.app
    if issubclass(owner, (App, ListScreen)) or nodes(pilot, owner):
        return
    ref = table(pilot).selected
    assert ref is not None
    group = app.session.group_of(ref)
    for opened in (
        lambda: DetailScreen(app.session, ref),
        lambda: DetailScreen(app.session, ref, tab="logs"),
        lambda: DetailScreen(app.session, ref, tab="processes"),
        lambda: DetailScreen(app.session, ref, tab="isolation"),
        lambda: DetailScreen(app.session, group.ref, tab="members"),
        lambda: LimitEditor(app.session, ref),
        lambda: HelpScreen(app.session, ref, app.keymap, app.glyphs),
        lambda: ConfirmScreen("Stop it?", "It ends.", "Stop", True),
        lambda: MatrixScreen(app.session),
    ):
        app.push_screen(opened())
        for _ in range(3):
            await pilot.pause()
        if nodes(pilot, owner):
            return
        app.pop_screen()
        await pilot.pause()


def nodes(pilot: Pilot[None], owner: type) -> list[MessagePump]:
    app = pilot.app
    everything: list[MessagePump] = [app, *app.screen_stack, *app.screen.walk_children(Widget)]
    return [node for node in everything if isinstance(node, owner)]


@pytest.fixture
def nothing_goes_wrong_unseen() -> None:
    """In place of the fixture of this name: what is injected is logged, which the tests look at themselves."""


FATAL = frozenset({"PytopApp.on_mount", "ListScreen.on_mount", "ListScreen.compose"})
"""Without these there is no screen: nothing would ever be drawn."""


@pytest.mark.parametrize(
    ("module", "owner", "name"), [pytest.param(*each, id=f"{each[1]}.{each[2]}") for each in FOUND]
)
async def test_it_raises_once_and_the_dashboard_goes_on(
    module: str, owner: str, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kind: type = getattr(importlib.import_module(module), owner)
    raises = Raises(monkeypatch, kind, name)
    session, docker, _ = town_session()
    for known in list(docker.all.values()):
        docker.put(replace(known, group=GroupRef(GroupKind.COMPOSE, "town", "docker")))
    app = PytopApp(session, chosen=Settings())
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        if f"{owner}.{name}" in FATAL:
            await waiting.until(lambda: app._exit, 5)
        else:
            await until(pilot, lambda: session.frame is not None and session.frame.seq >= 3)
            await reach(pilot, kind)
            if raises.left and name != "on_unmount":
                (node, *_) = nodes(pilot, kind)
                node.call_later(getattr(node, name))
                await until(pilot, lambda: not raises.left)
            await goes_on(pilot, kind)
            app.exit()
    await session.close()
    assert not raises.left
    assert app.return_code == (fault_tolerance.BROKEN if f"{owner}.{name}" in FATAL else 0)
    errors = [r for r in caplog.records if r.levelno >= logging.ERROR and r.exc_info is not None]
    injected = [r for r in errors if r.exc_info is not None and isinstance(r.exc_info[1], InjectedError)]
    assert injected
    if name not in ("compose", "on_mount"):  # without its parts a screen cannot do everything
        assert errors == injected


async def goes_on(pilot: Pilot[None], kind: type) -> None:
    """The queue of whoever failed is read on, and keys and frames have their effect."""
    app: Any = pilot.app
    read_on: list[bool] = []
    for node in nodes(pilot, kind)[:1] or [app]:
        node.call_later(read_on.append, True)
    await until(pilot, lambda: read_on)
    while len(app.screen_stack) > 1:
        app.pop_screen()
        await pilot.pause()
    frame = app.session.frame.seq
    await until(pilot, lambda: app.session.frame.seq > frame + 2)
    before = table(pilot).selected
    await pilot.press("down")
    await until(pilot, lambda: table(pilot).selected != before)
    assert "web-1" in screen(pilot)
    assert app.is_running
    assert not app._exit


async def test_a_screen_that_can_never_be_drawn_ends_the_dashboard_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session, *_ = town_session()
    app = PytopApp(session, chosen=Settings())
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: session.frame is not None)
        Raises(monkeypatch, ContainerTable, "render_line", times=10_000)
        await waiting.until(lambda: app._exit, 5)
    await session.close()
    line = " ".join(capsys.readouterr().err.split())
    assert app.return_code == fault_tolerance.BROKEN
    assert line.startswith("pytop-containers: a bug: the screen cannot be drawn: InjectedError: render_line (")
    assert line.endswith("Please report it")
    assert "Traceback" not in line


async def test_the_same_failure_is_told_once_and_says_what_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session, *_ = town_session()
    async with running(session) as pilot:
        app: Any = pilot.app
        Raises(monkeypatch, PytopApp, "action_refresh", times=20)
        for _ in range(20):
            app.action_refresh()
        await until(pilot, lambda: "Something failed: InjectedError: action_refresh" in toasts(pilot))
        await pilot.pause()
        assert toasts(pilot).count("Something failed") == 1
        assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1
    assert "in fail" in caplog.text, "the traceback is in the log"


async def test_an_engine_error_that_nobody_caught_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    session, *_ = town_session()
    async with running(session) as pilot:
        app: Any = pilot.app

        async def fail() -> None:
            raise EngineError("stop web", detail="the daemon said no")

        app.run_worker(fail())
        await until(pilot, lambda: "stop web: the daemon said no" in toasts(pilot))
        assert app.is_running


async def test_an_os_error_in_a_stop_is_told_and_the_next_stop_is_tried() -> None:
    session, docker, _ = town_session()
    async with running(session) as pilot:
        docker.failures[Verb.PAUSE] = OSError(24, "Too many open files")  # type: ignore[assignment]
        for _ in range(2):
            await pilot.press("p")
        await until(pilot, lambda: "OSError: [Errno 24] Too many open files" in toasts(pilot))
        del docker.failures[Verb.PAUSE]
        await pilot.press("p")
        await until(pilot, lambda: "paused" in screen(pilot))


async def test_no_signature_is_inspected_for_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """It took half of the time of a message: Textual keeps the number of parameters with a handler, and each guarded
    handler was another one. Looked for elsewhere: timers and workers are wrapped once."""
    session, _, _ = town_session()
    async with running(session) as pilot:
        await pilot.press("down", "l")
        await until(pilot, lambda: "CPU cores" in screen(pilot))
        await pilot.press("escape")
        inspected: list[object] = []
        count = _callback._count_parameters
        monkeypatch.setattr(_callback, "_count_parameters", lambda func: (inspected.append(func), count(func))[1])
        await pilot.press("l")
        await until(pilot, lambda: "CPU cores" in screen(pilot))
        names = [getattr(function, "__name__", "") for function in inspected]
        assert "_guarded" not in names, f"{names.count('_guarded')} of {len(names)}"
