"""A real terminal for tests: a private tmux server whose screen can be read and typed into."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.conftest import missing
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable
SIZES = ("COLUMNS", "LINES")  # which say how large a terminal is; pytest-xdist sets them


class Terminal:
    """One program in a tmux pane of a server of its own."""

    def __init__(self, command: Sequence[str], *, columns: int, rows: int, env: Mapping[str, str]) -> None:
        self._socket = f"pytop-test-{uuid.uuid4().hex[:12]}"
        self._status = Path(os.environ.get("TMPDIR", "/tmp")) / f"{self._socket}.status"
        program = " ".join(f"{name}={shlex.quote(value)}" for name, value in env.items())
        program = f"{program} {shlex.join(command)}; echo $? > {self._status}; exec sleep 600"
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), "-c", str(ROOT), program
        )
        self._tmux("set-option", "-g", "status", "off")

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            env={name: value for name, value in os.environ.items() if name not in SIZES} | {"TERM": "xterm-256color"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def screen(self) -> str:
        """What is on the screen now, as text."""
        return self._tmux("capture-pane", "-p")

    def send(self, *keys: str) -> None:
        """Press keys by tmux's names ("Enter", "Escape", "q"); other text is typed."""
        for key in keys:
            self._tmux("send-keys", key)
            time.sleep(0.4 if key == "Escape" else 0.05)  # an escape and a key at once would be Alt and that key

    def type(self, text: str) -> None:
        """Type text literally."""
        self._tmux("send-keys", "-l", text)

    def wait_for(self, pattern: str, timeout: float = 20) -> str:
        """Wait until the screen matches the regular expression; the screen then."""
        screen = ""

        def matches() -> bool:
            nonlocal screen
            screen = self.screen()
            return re.search(pattern, screen, re.M) is not None

        wait_until(matches, timeout, lambda: f"{pattern!r} is on the screen:\n{screen}", every_s=0.1)
        return screen

    def row(self, word: str) -> str:
        """The first line of the screen that has `word` in it; empty when none has."""
        return next((line for line in self.screen().splitlines() if word in line), "")

    def status(self, timeout: float = 20) -> int:
        """Wait for the program's end; its exit status."""

        def ended() -> bool:
            return self._status.exists() and self._status.read_text().strip().isdecimal()

        wait_until(ended, timeout, lambda: f"the program ends:\n{self.screen()}", every_s=0.1)
        return int(self._status.read_text())

    def pid(self) -> int:
        """The pid of the shell in the pane."""
        return int(self._tmux("display-message", "-p", "#{pane_pid}"))

    def mode(self, name: str) -> str:
        """One of tmux's formats about the pane: alternate_on, mouse_any_flag, cursor_flag, ..."""
        return self._tmux("display-message", "-p", f"#{{{name}}}").strip()

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def drop(self) -> None:
        """Take the terminal away, as a dropped line does: the program gets SIGHUP and its writes fail."""
        self._tmux("kill-server")

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self._socket, "kill-server"], capture_output=True, timeout=20)
        self._status.unlink(missing_ok=True)


@contextlib.contextmanager
def terminal(
    command: Sequence[str], *, columns: int = 80, rows: int = 24, env: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """A program in a real terminal, ended with the block."""
    if shutil.which("tmux") is None:
        missing("tmux", "it is not installed")
    opened = Terminal(command, columns=columns, rows=rows, env=env or {})
    try:
        yield opened
    finally:
        opened.close()
