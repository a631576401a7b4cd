"""From a key to what it draws, in a real terminal with 100 containers that all change: medians, in wall time."""

from __future__ import annotations

import statistics

from tests.bench.figure import Figure
from tests.bench.screen import CONTAINERS, dashboard

TURNS, SHORT_TURNS = 9, 3
EDITOR_MS, QUIT_MS = 150, 150
SETTLE_S = 2.0
EDITOR_DRAWN = b"pids"
"""In the last line of the editor's form that is drawn; the list has no such word."""
SCREEN_GIVEN_BACK = b"\x1b[?1049l"


def figures(*, short: bool = False) -> list[Figure]:
    editor, leaving = [], []
    for _ in range(SHORT_TURNS if short else TURNS):
        with dashboard() as terminal:
            terminal.until(b"service-")
            terminal.watch(SETTLE_S)
            editor.append(terminal.press(b"l", EDITOR_DRAWN))
            terminal.watch(1.0)
            terminal.press(b"\x1b", b"service-")
            terminal.watch(1.0)
            leaving.append(terminal.press(b"q", SCREEN_GIVEN_BACK))
    return [
        _figure("limit editor, drawn", editor, EDITOR_MS),
        _figure("quit, screen given back", leaving, QUIT_MS),
    ]


def _figure(name: str, seconds: list[float], bound_ms: int) -> Figure:
    took = statistics.median(seconds) * 1e3
    words = f"{took:.0f} of {bound_ms} ms, {CONTAINERS} containers, median of {len(seconds)}"
    return Figure(name, took / bound_ms, 1.0, words)
