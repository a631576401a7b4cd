"""A locale that is not of UTF-8 gets ASCII by itself, on the command line and in the dashboard."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.terminal import ROOT, terminal
from tui.present.locale_signs import is_utf8

SHOW = "from tui.__main__ import _standard_streams as s; s(); print('● web … ü 漢')"


@pytest.mark.parametrize(
    ("environ", "encoding", "utf8"),
    [
        ({}, "utf-8", True),
        ({}, "iso8859-1", False),
        ({"LC_ALL": "C"}, "utf-8", False),
        ({"LC_ALL": "POSIX", "LANG": "C.UTF-8"}, "utf-8", False),
        ({"LC_ALL": "", "LANG": "C.UTF-8"}, "utf-8", True),
        ({"LANG": "de_DE.ISO-8859-1"}, "utf-8", False),
        ({"LANG": "de_DE.utf8@euro"}, "utf-8", True),
        ({"LC_CTYPE": "UTF-8"}, "utf-8", True),
        ({"LANG": "de_DE"}, "iso8859-1", False),
    ],
)
def test_the_locale_says_what_a_terminal_shows(environ: dict[str, str], encoding: str, utf8: bool) -> None:
    assert is_utf8(environ, encoding) is utf8


@pytest.mark.parametrize(
    ("environ", "seen"),
    [
        ({"LC_ALL": "C.UTF-8"}, "● web … ü 漢".encode()),
        ({"LC_ALL": "C"}, rb"* web ~ \xfc \u6f22"),
        ({"LC_ALL": "de_DE.ISO-8859-1"}, rb"* web ~ \xfc \u6f22"),
    ],
)
def test_what_is_printed_on_a_terminal(environ: dict[str, str], seen: bytes) -> None:
    main, other = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", SHOW], stdout=other, env={**os.environ, **environ}, cwd=ROOT, check=True)
        assert os.read(main, 1000).strip() == seen
    finally:
        os.close(main)
        os.close(other)


def test_a_pipe_gets_the_bytes_of_names_as_they_are() -> None:
    environ = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, env=environ, cwd=ROOT, check=True)
    assert done.stdout.strip() == "● web … ü 漢".encode()


@pytest.mark.parametrize("locale", ["C", "de_DE.ISO-8859-1"])
def test_the_dashboard_is_drawn_in_ascii(locale: str, tmp_path: Path) -> None:
    """Looked for elsewhere: the doctor chose its signs by the encoding alone, which is UTF-8 in the locale C too."""
    env = {"LC_ALL": locale, "HOME": str(tmp_path), "PYTOP_FOUND": "0", "TERM": "xterm-256color"}
    with terminal([sys.executable, "-m", "tui"], env=env) as opened:
        screen = opened.wait_for("q quit")
        assert screen.isascii(), screen
        assert "\\u" not in screen
        opened.send("?")
        assert opened.wait_for("Help").isascii()
        opened.send("Escape", "q")
        assert opened.status() == 0
