"""The schema of a colour theme: a name and a colour for each role, validated when it is loaded.

Independent of Textual: the app converts a theme to Textual's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

BASE: Final[Mapping[str, str]] = {
    "background": "behind everything",
    "surface": "behind the table's head and the dialogs' fields",
    "panel": "behind dialogs, the head and the foot of the screen",
    "foreground": "text",
    "primary": "titles, the focused border",
    "secondary": "less important titles",
    "accent": "keys in the foot of the screen",
    "success": "something went well",
    "warning": "something needs attention",
    "error": "something failed",
}
ROLES: Final[Mapping[str, str]] = {
    "use": "what is used: the filled part of graphs",
    "throttled": "held back by its own limit",
    "critical": "at its limit, killed, failed",
    "good": "as it should be",
    "limit": "limit lines",
    "muted": "stopped containers, units, hints",
    "cursor": "behind the selected row",
    "cursor-text": "text of the selected row",
}
ANSI: Final = frozenset(
    ["ansi_default"]
    + [
        f"ansi_{bright}{name}"
        for bright in ("", "bright_")
        for name in ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
    ]
)
_HEX = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_TOP = {"name", "dark", "ansi", "base", "roles"}


class ThemeError(ValueError):
    """A theme file that cannot be used; the text names the file and everything that is wrong with it."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours by role: "#rrggbb", or one of the terminal's sixteen ("ansi_red") in a theme with `ansi`."""

    name: str
    dark: bool
    ansi: bool
    base: Mapping[str, str]
    roles: Mapping[str, str]


def parse(data: Mapping[str, Any], source: str) -> Theme:
    """Validate the content of a TOML file and convert it to a theme.

    Raises:
        ThemeError: one line with everything that is wrong in `source`.
    """
    wrong = [f"unknown entry {key!r} (there are {', '.join(sorted(_TOP))})" for key in sorted(data.keys() - _TOP)]
    name = data.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        wrong.append("name must be text of small letters, digits and dashes")
    flags = {}
    for key in ("dark", "ansi"):
        flags[key] = data.get(key, key == "dark")
        if not isinstance(flags[key], bool):
            wrong.append(f"{key} must be true or false")
    base = _colours(data, "base", BASE, flags["ansi"] is True, wrong)
    roles = _colours(data, "roles", ROLES, flags["ansi"] is True, wrong)
    if wrong:
        raise ThemeError(f"theme {source}: {'; '.join(wrong)}")
    return Theme(str(name), flags["dark"], flags["ansi"], base, roles)


def _colours(
    data: Mapping[str, Any], section: str, known: Mapping[str, str], ansi: bool, wrong: list[str]
) -> dict[str, str]:
    """Validate one section; messages about errors are appended to `wrong`."""
    table = data.get(section)
    if not isinstance(table, Mapping):
        wrong.append(f"the section [{section}] is missing")
        return {}
    wrong += [f"{section}.{key} is unknown" for key in sorted(table.keys() - known.keys())]
    wrong += [f"{section}.{key} is missing ({what})" for key, what in known.items() if key not in table]
    kind = "one of the sixteen such as ansi_red" if ansi else "a colour such as #0072B2"
    for key in known.keys() & table.keys():
        value = table[key]
        if not isinstance(value, str) or not (value in ANSI if ansi else _HEX.fullmatch(value)):
            wrong.append(f"{section}.{key} must be {kind}, not {value!r}")
    return {key: str(value) for key, value in table.items()}
