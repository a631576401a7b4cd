"""How the dashboard leaves a real terminal: on signals, suspended and resumed; and that it draws without stderr.

The same kind, a signal that ends the program between raw mode and its end, was looked for in the demo (test_demo.py).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminal import ROOT, Terminal, terminal
from tests.waiting import wait_until

SHELL = ["bash", "--norc", "--noprofile", "-i"]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": str(ROOT),
        "XDG_CONFIG_HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path),
        "PS1": "shell> ",
    }


@pytest.fixture
def shell(env: dict[str, str]) -> Iterator[Terminal]:
    """A shell with job control, in which a dashboard runs."""
    with terminal(SHELL, env=env, columns=100) as opened:
        opened.wait_for("shell>")
        yield opened


def begin(shell: Terminal, more: str = "") -> int:
    """Start the dashboard; its pid."""
    shell.type(f"{sys.executable} -m tui --engine embedded{more}\r")
    shell.wait_for("q quit")
    return dashboard(shell.pid())


def dashboard(root: int) -> int:
    """The pid of the dashboard below this process."""
    for below in Path(f"/proc/{root}/task/{root}/children").read_text().split():
        words = Path(f"/proc/{below}/cmdline").read_bytes().split(b"\0")
        if b"tui" in words and b"-c" not in words:
            return int(below)
        if found := dashboard(int(below)):
            return found
    return 0


def works(shell: Terminal) -> None:
    """The shell's screen is back, it echoes what is typed, and no mouse is reported."""
    shell.type("echo $((6*7))\r")
    screen = shell.wait_for("^42$")
    assert "echo $((6*7))" in screen
    assert "q quit" not in screen
    assert shell.mode("alternate_on") == "0"
    assert shell.mode("mouse_any_flag") == "0"
    assert shell.mode("cursor_flag") == "1"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_as_q_does_and_gives_the_terminal_back(
    number: signal.Signals, status: int, shell: Terminal
) -> None:
    os.kill(begin(shell), number)
    shell.wait_for(r"shell> *$")
    shell.type("echo status $?\r")
    shell.wait_for(f"^status {status}$")
    works(shell)


def test_it_is_suspended_and_drawn_again(shell: Terminal) -> None:
    pid = begin(shell)
    shell.send("C-z")
    shell.wait_for("Stopped")
    works(shell)
    shell.type("fg\r")
    shell.wait_for("q quit")
    assert shell.mode("alternate_on") == "1"
    shell.send("q")
    shell.wait_for(r"shell> *$")
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5)
    works(shell)


def test_it_is_drawn_without_stderr(shell: Terminal) -> None:
    begin(shell, " 2>/dev/null")
    assert "embedded" in shell.screen()
    shell.send("q")
    shell.wait_for(r"shell> *$")
    works(shell)
