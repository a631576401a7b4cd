"""Loads colour themes: the built-in ones, and the user's own from a directory of TOML files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from themes.schema import Theme, ThemeError, parse

BUILTIN = Path(__file__).parent / "builtin"


def load(path: Path) -> Theme:
    """Load one theme file.

    Raises:
        ThemeError: it cannot be read, is not TOML, or is not a theme; the text is one line and names the file.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ThemeError(f"theme {path.name}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ThemeError(f"theme {path.name}: not TOML: {error}") from error
    return parse(data, path.name)


def load_all(own: Path | None = None) -> tuple[Mapping[str, Theme], tuple[str, ...]]:
    """Every theme by name, built-in ones first, and one line for each of the user's files that cannot be used.

    A user's theme replaces the built-in one of the same name. A missing directory is no error.
    """
    themes = {theme.name: theme for theme in map(load, sorted(BUILTIN.glob("*.toml")))}
    problems: list[str] = []
    for path in sorted(own.glob("*.toml")) if own is not None else ():
        try:
            theme = load(path)
        except ThemeError as error:
            problems.append(str(error))
        else:
            themes[theme.name] = theme
    return themes, tuple(problems)
