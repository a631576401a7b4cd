"""What the app does with an exception that nobody expected: log it, show it, and go on.

Textual ends an app on the first exception of a worker, a timer, a callback or a message handler, and stops the message
queue in which a handler failed. Here every one of them arrives in `FaultTolerantApp._handle_exception`.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

from rich.text import Text
from textual import events
from textual._callback import invoke
from textual.app import App
from textual.dom import DOMNode
from textual.message import Message as TextualMessage
from textual.message_pump import MessagePump
from textual.widget import Widget
from textual.worker import WorkerFailed

from runtime.errors import PytopError
from tui.present.format import clean
from tui.present.messages import Message, say

log = logging.getLogger(__name__)

BROKEN: Final = 70  # exit code of a screen that cannot be drawn
MAX_DRAWING_FAILURES: Final = 5  # within DRAWING_WINDOW_S, after which the screen counts as unusable
DRAWING_WINDOW_S: Final = 10.0
REDRAW_DELAY_S: Final = 0.2  # after a failure, which has left a part of the screen undrawn
QUIET_S: Final = 60.0  # in which the same failure is logged with its traceback and shown only once

Handler = Callable[[TextualMessage], Awaitable[Any]]

_DRAWING_FUNCTIONS: Final = frozenset({"_compose", "render_line", "render_lines"})


class FaultTolerantApp(App[None]):
    """An app in which an unexpected exception ends one operation only.

    It exits with `BROKEN` when the app or its first screen cannot be mounted, and when drawing has failed
    `MAX_DRAWING_FAILURES` times within `DRAWING_WINDOW_S`.
    """

    def __init__(self, *, ansi_color: bool | None = None) -> None:
        super().__init__(ansi_color=ansi_color)
        self._first: Exception | None = None
        self._shown_at: dict[str, float] = {}  # by the place of the failure
        self._drawing_failures: deque[float] = deque(maxlen=MAX_DRAWING_FAILURES)

    def notify_error(self, error: PytopError) -> None:
        """Show an expected error."""
        raise NotImplementedError

    def _register_child(self, parent: DOMNode, child: Widget, before: int | None, after: int | None) -> None:
        """Add a widget or a screen to the tree, with its message handlers guarded."""
        self._guard_handlers(child)
        super()._register_child(parent, child, before, after)

    def _start_widget(self, parent: Widget, widget: Widget) -> None:
        """The same for scroll bars."""
        self._guard_handlers(widget)
        super()._start_widget(parent, widget)

    def _guard_handlers(self, node: Widget) -> None:
        """Guard each handler by itself, so that those of the base classes run, and what is not done by handlers."""
        dispatch, methods = node._dispatch_message, node._get_dispatch_methods

        def handlers(method_name: str, message: TextualMessage) -> Iterator[tuple[type, Handler]]:
            for owner, handler in methods(method_name, message):
                guarded = partial(self._guarded, node, partial(invoke, handler))
                guarded._param_count = 1  # type: ignore[attr-defined]  # else Textual inspects the signature each time
                yield owner, guarded

        node._dispatch_message = partial(self._guarded, node, dispatch)  # type: ignore[method-assign]
        node._get_dispatch_methods = handlers  # type: ignore[method-assign]

    async def _dispatch_message(self, message: TextualMessage) -> None:
        await self._guarded(self, super()._dispatch_message, message)

    async def _guarded(self, node: MessagePump, dispatch: Handler, message: TextualMessage) -> None:
        """Let a handler fail without the end of its message queue."""
        try:
            await dispatch(message)
        except Exception as error:  # noqa: BLE001 - it is logged in _handle_exception
            self._handle_exception(error)
            if isinstance(message, events.Mount) and node in (self, *self.screen_stack[:1]):
                self._give_up(Message.CANNOT_RUN, self._first or error)

    async def _process_messages(self, *args: Any, **options: Any) -> None:
        """Run the app; exceptions of the event loop's own callbacks and of tasks that nobody awaits arrive here too."""
        loop = asyncio.get_running_loop()
        before = loop.get_exception_handler()
        loop.set_exception_handler(self._loop_failed)
        try:
            await super()._process_messages(*args, **options)
        finally:
            loop.set_exception_handler(before)

    def _loop_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception):
            self._handle_exception(error)
        else:
            log.error("the event loop: %s", context.get("message"))

    def _handle_exception(self, error: Exception) -> None:
        """Textual's hook for every exception that nothing else has caught."""
        if isinstance(error, WorkerFailed) and isinstance(error.error, Exception):
            error = error.error
        self._first = self._first or error
        if not self._running:
            log.error("the dashboard cannot run", exc_info=error)
            self._give_up(Message.CANNOT_RUN, error)
        elif isinstance(error, PytopError) and not self._exit:
            log.error("%s", error)
            self.notify_error(error)
        else:
            self._unexpected(error)

    def _unexpected(self, error: Exception) -> None:
        drawing = _is_drawing(error)
        now = time.monotonic()
        place = _place(error)
        if now - self._shown_at.get(place, now - QUIET_S) >= QUIET_S:
            self._shown_at[place] = now
            log.error("unexpected, at %s", place, exc_info=error)
            if not drawing and not self._exit:
                text = say(Message.UNEXPECTED_AT, error=clean(_words(error)), place=place)
                self.notify(text, title=say(Message.UNEXPECTED), severity="error", timeout=10, markup=False)
        if drawing and not self._exit:
            self._drawing_failed(now, error)

    def _drawing_failed(self, now: float, error: Exception) -> None:
        """Draw again soon, or give up. A notification would have to be drawn too."""
        self._drawing_failures.append(now)
        if len(self._drawing_failures) == MAX_DRAWING_FAILURES and now - self._drawing_failures[0] <= DRAWING_WINDOW_S:
            self._give_up(Message.CANNOT_DRAW, error)
        else:
            self.set_timer(REDRAW_DELAY_S, lambda: self.screen.refresh())

    def _give_up(self, message: Message, error: Exception) -> None:
        if self._exit:
            return
        line = Text(f"pytop-containers: {say(message, error=clean(_words(error)), place=_place(error))}")
        self.exit(return_code=BROKEN, message=line)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _place(error: Exception) -> str:
    """File and line where it was raised."""
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"


def _is_drawing(error: Exception) -> bool:
    """It was raised while a screen was composed or drawn."""
    return any(
        frame.f_code.co_name in _DRAWING_FUNCTIONS or frame.f_code.co_filename.endswith("textual/_compositor.py")
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )
