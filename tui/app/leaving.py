"""How the app ends: on a key or a signal, after the changes that are under way; and what it writes to."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import termios
from typing import Any, Final, TextIO

from textual.app import App
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver

from tui.app.key_queue import KeyQueueApp
from tui.core.operations import CLOSE_TIMEOUT_S
from tui.core.session import Session
from tui.present.messages import Message, say

SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)
LEAVE_SCREEN: Final = "\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l"
"""Keys of the kitty protocol off, which goes by screen; the main screen; the cursor shown; reports of focus off."""


class LossyStream:
    """A text stream that drops what a terminal which is gone does not take.

    Textual's thread that writes ends at an error; then its queue fills, and whoever draws waits for ever.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class StdoutDriver(LinuxDriver):
    """Draws on the standard output. Textual's own draws on stderr, which `2>/dev/null` takes away."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        if sys.__stdout__ is not None:
            self._file = LossyStream(sys.__stdout__)  # type: ignore[assignment]

    def stop_application_mode(self) -> None:
        """Give the screen back, then wait for the thread that reads keys, which ends within 0.2 s.

        Textual's own waits first, with a frozen screen.
        """
        self._disable_bracketed_paste()
        self._enable_line_wrap()
        self._disable_in_band_window_resize()
        self._disable_mouse_support()
        self.write(LEAVE_SCREEN)
        self.flush()
        self.disable_input()
        if self.attrs_before is not None:
            with contextlib.suppress(termios.error):  # the terminal may be gone
                termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)


class LeavingApp(KeyQueueApp):
    """An app that ends as `q` does on SIGTERM and SIGHUP, with the exit status of that signal."""

    session: Session
    _leaving = False

    def get_driver_class(self) -> type[Driver]:
        """The terminal's driver."""
        chosen = super().get_driver_class()
        return StdoutDriver if chosen is LinuxDriver else chosen

    def listen_for_signals(self) -> None:
        """From now on, also for the end of a suspension.

        The handlers stay until the event loop is closed, so that closing the session is not cut.
        """
        self.app_resume_signal.subscribe(self, self._redraw)
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            for number in SIGNALS:
                loop.add_signal_handler(number, self.leave, 128 + number)

    def _redraw(self, _: App[Any]) -> None:
        """Draw everything: the terminal has an empty screen after a suspension."""
        for screen in self.screen_stack:
            screen.refresh(layout=True)

    async def action_quit(self) -> None:
        """Quit, with a word about what has to be finished before; the second time at once."""
        self.leave()

    def leave(self, return_code: int = 0) -> None:
        """End the app once nothing is being changed any more, or at once when it is asked again."""
        changes = self.session.under_way
        if not changes or self._leaving:
            self.exit(return_code=return_code)
            return
        self._leaving = True
        text = say(Message.FINISHING, changes=", ".join(changes), seconds=CLOSE_TIMEOUT_S)
        self.notify(text, title=say(Message.QUITTING), timeout=CLOSE_TIMEOUT_S, markup=False)
        self.run_worker(self._finish(return_code), group="leaving")

    async def _finish(self, return_code: int) -> None:
        try:
            await self.session.finish()
        finally:
            self.exit(return_code=return_code)
