"""The registry of screens that are opened by a key: loaded when they are needed, or soon after the first frame.

The list is drawn without them; together they take a tenth of the time to the first frame. A test resolves every name.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from textual.screen import Screen

SCREENS: Final[Mapping[str, tuple[str, str]]] = {
    "detail": ("tui.app.screens.detail", "DetailScreen"),
    "limits": ("tui.app.screens.limit_editor", "LimitEditor"),
    "confirm": ("tui.app.screens.confirm", "ConfirmScreen"),
    "matrix": ("tui.app.screens.matrix", "MatrixScreen"),
    "help": ("tui.app.screens.help", "HelpScreen"),
}
"""Module and class by what they are for, in the order in which they are loaded."""


def screen(name: str, *args: Any, **options: Any) -> Screen[Any]:
    """A screen of this registry, made with these arguments."""
    module, kind = SCREENS[name]
    made: Screen[Any] = getattr(importlib.import_module(module), kind)(*args, **options)
    return made


def load(name: str) -> None:
    """Import its module, so that it opens at once."""
    importlib.import_module(SCREENS[name][0])
