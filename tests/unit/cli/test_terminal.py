"""A terminal without a size gets the usual one; the size of others is theirs."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios

import pytest

from tui.cli import terminal


@pytest.mark.parametrize(
    ("size", "seen"),
    [((0, 0), (24, 80)), ((0, 132), (24, 80)), ((50, 200), (50, 200))],
    ids=["serial", "half", "known"],
)
def test_a_terminal_without_a_size_gets_the_usual_one(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], seen: tuple[int, int]
) -> None:
    main, other = pty.openpty()
    try:
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        with open(os.dup(other), "w", encoding="utf-8") as stdout:
            monkeypatch.setattr(sys, "stdout", stdout)
            terminal.ensure_size()
        columns, lines = os.get_terminal_size(other)
        assert (lines, columns) == seen
    finally:
        os.close(main)
        os.close(other)


def test_what_is_no_terminal_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        terminal.ensure_size()
