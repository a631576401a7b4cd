"""The user's settings: ~/.config/pytop-containers/config.toml, and themes/ beside it.

Nothing in them can keep the dashboard from starting: what is wrong is told in one line, and the default holds.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

INTERVALS: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds that the keys for it step through."""
_SHORTEST, _LONGEST = 0.1, 60.0
_TOP = ("theme", "interval", "columns", "keys")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What may be named in the settings: the ids of columns and of actions."""

    columns: Collection[str]
    actions: Collection[str]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user chose; a field that is None was not said.

    Attributes:
        theme: the name of a theme.
        interval: seconds between measurements.
        columns: ids of the table's columns, in order; empty when they were not said.
        keys: keys by action id, several with commas between.
        themes: where the user's own themes are.
        problems: one line for each thing in the file that was not understood.
    """

    theme: str | None = None
    interval: float | None = None
    columns: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    themes: Path | None = None
    problems: tuple[str, ...] = ()


def home(environ: Mapping[str, str]) -> Path | None:
    """The directory of the user's settings, None for a user without a home."""
    base = environ.get("XDG_CONFIG_HOME")
    if base:
        return Path(base) / "pytop-containers"
    user = environ.get("HOME")
    return Path(user) / ".config" / "pytop-containers" if user else None


def load(directory: Path | None, known: Vocabulary) -> Settings:
    """Read config.toml, in which nothing but what is `known` may be named; a missing one is no error."""
    if directory is None:
        return Settings()
    path = directory / "config.toml"
    themes = directory / "themes"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return Settings(themes=themes)
    except OSError as error:
        return Settings(themes=themes, problems=(f"{path.name}: {error.strerror}; defaults hold",))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return Settings(themes=themes, problems=(f"{path.name} is not TOML: {error}; defaults hold",))
    return _settings(data, themes, known)


def state_file(environ: Mapping[str, str]) -> Path | None:
    """Where the dashboard itself notes what was chosen by key; config.toml is the user's alone."""
    base = environ.get("XDG_STATE_HOME")
    user = environ.get("HOME")
    if not base and not user:
        return None
    return (Path(base) if base else Path(str(user)) / ".local" / "state") / "pytop-containers" / "theme"


def remembered(path: Path | None) -> str | None:
    """The theme that was chosen last by key, None for none."""
    try:
        return path.read_text(encoding="utf-8").strip() or None if path is not None else None
    except (OSError, UnicodeDecodeError):
        return None


def remember(path: Path | None, theme: str) -> None:
    """Note the theme; where that cannot be written, nothing is remembered."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(theme + "\n", encoding="utf-8")


def _settings(data: Mapping[str, Any], themes: Path, known: Vocabulary) -> Settings:
    wrong = [f"config.toml: unknown entry {key!r} (there are {', '.join(_TOP)})" for key in data if key not in _TOP]
    theme = data.get("theme")
    if theme is not None and not isinstance(theme, str):
        wrong.append(f"config.toml: theme must be a name, not {theme!r}")
        theme = None
    return Settings(
        theme=theme,
        interval=_interval(data, wrong),
        columns=_columns(data, wrong, known.columns),
        keys=_keys(data, wrong, known.actions),
        themes=themes,
        problems=tuple(wrong),
    )


def _interval(data: Mapping[str, Any], wrong: list[str]) -> float | None:
    value = data.get("interval")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not _SHORTEST <= value <= _LONGEST:
        wrong.append(f"config.toml: interval must be seconds from {_SHORTEST:g} to {_LONGEST:g}, not {value!r}")
        return None
    return float(value)


def _columns(data: Mapping[str, Any], wrong: list[str], known: Collection[str]) -> tuple[str, ...]:
    value = data.get("columns")
    if value is None:
        return ()
    if not isinstance(value, list) or not value:
        wrong.append("config.toml: columns must be a list of names")
        return ()
    unknown = [id for id in value if not isinstance(id, str) or id not in known]
    if unknown:
        wrong.append(f"config.toml: there is no column {unknown[0]!r} (there are {', '.join(sorted(known))})")
    return tuple(dict.fromkeys(id for id in value if isinstance(id, str) and id in known))


def _keys(data: Mapping[str, Any], wrong: list[str], known: Collection[str]) -> Mapping[str, str]:
    table = data.get("keys", {})
    if not isinstance(table, Mapping):
        wrong.append("config.toml: [keys] must be a table of action = key")
        return {}
    keys = {}
    for id, value in table.items():
        if id not in known:
            wrong.append(f"config.toml: keys: there is no action {id!r} (there are {', '.join(sorted(known))})")
        elif not isinstance(value, str) or not all(part.strip() for part in value.split(",")):
            wrong.append(f"config.toml: keys.{id} must be a key such as 'f2' or 'ctrl+l'")
        else:
            keys[id] = value
    return keys
