"""The user's settings: ~/.config/pytop-containers/config.toml, and themes/ beside it.

A wrong setting never prevents the start: it becomes one error to be shown, and the default is used.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Final

from runtime.errors import InvalidError, PytopError

INTERVALS_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""The intervals that the keys choose from."""
MIN_INTERVAL_S, MAX_INTERVAL_S = 0.1, 60.0
_FILE = "config.toml"
_ENTRIES = ("theme", "interval", "columns", "keys", "untouchable")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The ids that the settings may contain: of columns and of actions."""

    columns: Collection[str]
    actions: Collection[str]


@dataclass(frozen=True, slots=True)
class Settings:
    """The user's settings; None is not set.

    Attributes:
        theme: the name of a theme.
        interval: seconds between measurements.
        columns: ids of the table's columns, in order; empty is not set.
        keys: keys by action id, several of them separated by commas.
        untouchable: names of containers that are never contained or probed for another one's sake.
        themes: the directory of the user's own themes.
        problems: one error for each wrong entry of the file; each is one line.
    """

    theme: str | None = None
    interval: float | None = None
    columns: tuple[str, ...] = ()
    _: KW_ONLY
    keys: Mapping[str, str] = field(default_factory=dict)
    untouchable: tuple[str, ...] = ()
    themes: Path | None = None
    problems: tuple[PytopError, ...] = ()


def home(environ: Mapping[str, str]) -> Path | None:
    """The directory of the user's settings, None for a user without a home."""
    base = environ.get("XDG_CONFIG_HOME")
    if base:
        return Path(base) / "pytop-containers"
    user = environ.get("HOME")
    return Path(user) / ".config" / "pytop-containers" if user else None


def load(directory: Path | None, known: Vocabulary) -> Settings:
    """Read config.toml, which may contain only the ids of `known`; a missing file is no error."""
    if directory is None:
        return Settings()
    path = directory / _FILE
    themes = directory / "themes"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return Settings(themes=themes)
    except OSError as error:
        return Settings(themes=themes, problems=(InvalidError(_FILE, detail=f"{error.strerror}; defaults hold"),))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = InvalidError(f"{_FILE} is not TOML", detail=f"{error}; defaults hold")
        return Settings(themes=themes, problems=(problem,))
    return _settings(data, themes, known)


def state_file(environ: Mapping[str, str]) -> Path | None:
    """The file for the theme that was chosen by key; config.toml is never written."""
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
    """Write the theme to the state file; a failure is ignored, since the theme is only a convenience."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(theme + "\n", encoding="utf-8")


def _settings(data: Mapping[str, Any], themes: Path, known: Vocabulary) -> Settings:
    errors: list[PytopError] = [
        InvalidError(_FILE, detail=f"unknown entry {key!r} (there are {', '.join(_ENTRIES)})")
        for key in data
        if key not in _ENTRIES
    ]
    theme = data.get("theme")
    if theme is not None and not isinstance(theme, str):
        errors.append(InvalidError(_FILE, detail=f"theme must be a name, not {theme!r}"))
        theme = None
    return Settings(
        theme=theme,
        interval=_interval(data, errors),
        columns=_columns(data, errors, known.columns),
        keys=_keys(data, errors, known.actions),
        untouchable=_untouchable(data, errors),
        themes=themes,
        problems=tuple(errors),
    )


def _interval(data: Mapping[str, Any], errors: list[PytopError]) -> float | None:
    value = data.get("interval")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not MIN_INTERVAL_S <= value <= MAX_INTERVAL_S:
        detail = f"interval must be seconds from {MIN_INTERVAL_S:g} to {MAX_INTERVAL_S:g}, not {value!r}"
        errors.append(InvalidError(_FILE, detail=detail))
        return None
    return float(value)


def _columns(data: Mapping[str, Any], errors: list[PytopError], known: Collection[str]) -> tuple[str, ...]:
    value = data.get("columns")
    if value is None:
        return ()
    if not isinstance(value, list) or not value:
        errors.append(InvalidError(_FILE, detail="columns must be a list of names"))
        return ()
    unknown = [id for id in value if not isinstance(id, str) or id not in known]
    if unknown:
        detail = f"there is no column {unknown[0]!r} (there are {', '.join(sorted(known))})"
        errors.append(InvalidError(_FILE, detail=detail))
    return tuple(dict.fromkeys(id for id in value if isinstance(id, str) and id in known))


def _untouchable(data: Mapping[str, Any], errors: list[PytopError]) -> tuple[str, ...]:
    value = data.get("untouchable", [])
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        errors.append(InvalidError(_FILE, detail="untouchable must be a list of names of containers"))
        return ()
    return tuple(value)


def _keys(data: Mapping[str, Any], errors: list[PytopError], known: Collection[str]) -> Mapping[str, str]:
    table = data.get("keys", {})
    if not isinstance(table, Mapping):
        errors.append(InvalidError(_FILE, detail="[keys] must be a table of action = key"))
        return {}
    keys = {}
    for id, value in table.items():
        if id not in known:
            detail = f"keys: there is no action {id!r} (there are {', '.join(sorted(known))})"
            errors.append(InvalidError(_FILE, detail=detail))
        elif not isinstance(value, str) or not all(part.strip() for part in value.split(",")):
            errors.append(InvalidError(_FILE, detail=f"keys.{id} must be a key such as 'f2' or 'ctrl+l'"))
        else:
            keys[id] = value
    return keys
