"""Themes as data: the built-in ones are whole, a wrong one is told in one line, the user's own go first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.color import Color

from themes.loader import BUILTIN, load, load_all
from themes.schema import BASE, ROLES, Theme, ThemeError, parse
from tui.app.theming import FALLBACK, textual_theme
from tui.core import settings

THEMES, _ = load_all()


def good(**changed: Any) -> dict[str, Any]:
    return {
        "name": "mine",
        "dark": True,
        "base": dict.fromkeys(BASE, "#102030"),
        "roles": dict.fromkeys(ROLES, "#a0b0c0"),
    } | changed


def test_dark_light_sixteen_colours_and_high_contrast_are_there() -> None:
    assert {"dark", "light", "ansi", "high-contrast"} <= set(THEMES)
    assert not THEMES["light"].dark
    assert THEMES["ansi"].ansi
    assert {path.stem for path in BUILTIN.glob("*.toml")} == set(THEMES), "a file is named after its theme"


def test_high_contrast_has_the_palette_of_okabe_and_ito() -> None:
    roles = THEMES["high-contrast"].roles
    assert [roles[k] for k in ("use", "throttled", "critical", "good")] == ["#0072b2", "#e69f00", "#d55e00", "#009e73"]


@pytest.mark.parametrize("theme", [t for t in THEMES.values() if not t.ansi], ids=lambda t: t.name)
def test_text_can_be_read_on_its_background(theme: Theme) -> None:
    pairs = [(theme.roles[role], theme.base["background"]) for role in ("throttled", "critical", "muted")]
    pairs += [(theme.base["foreground"], theme.base["background"]), (theme.base["accent"], theme.base["panel"])]
    pairs += [(theme.roles["cursor-text"], theme.roles["cursor"]), (theme.roles["muted"], theme.base["panel"])]
    for ink, paper in pairs:
        assert contrast(ink, paper) >= 3.5, f"{ink} on {paper}"


def contrast(first: str, second: str) -> float:
    """WCAG 2.1: (lighter + 0.05) / (darker + 0.05) of the relative luminances."""

    def luminance(text: str) -> float:
        parts = [c / 255 for c in Color.parse(text).rgb]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda t: t.name)
def test_textual_can_use_it(theme: Theme) -> None:
    made = textual_theme(theme)
    assert set(ROLES) <= set(made.variables)
    assert made.to_color_system().generate()["block-cursor-background"] == theme.roles["cursor"]
    assert set(FALLBACK) == set(ROLES)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "My Theme"}, "name must be"),
        ({"name": 3}, "name must be"),
        ({"dark": "yes"}, "dark must be true or false"),
        ({"colour": 1}, "unknown entry 'colour'"),
        ({"roles": "red"}, "[roles] is missing"),
        ({"base": {**dict.fromkeys(BASE, "#102030"), "panel": "blue"}}, "base.panel must be a colour such as #0072B2"),
        ({"base": {**dict.fromkeys(BASE, "#102030"), "extra": "#fff"}}, "base.extra is unknown"),
        ({"roles": {"use": "#fff"}}, "roles.throttled is missing (held back by its own limit)"),
        ({"ansi": True}, "must be one of the sixteen"),
        ({"base": {**dict.fromkeys(BASE, "#102030"), "panel": ["#fff"]}}, "base.panel must be"),
    ],
)
def test_what_is_wrong_is_told(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ThemeError) as caught:
        parse(good(**changed), "mine.toml")
    assert words in str(caught.value)
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(ThemeError, match=r"name must be.*dark must be.*\[base\] is missing"):
        parse({"name": "", "dark": 1, "roles": good()["roles"]}, "x.toml")


def test_user_themes_are_added_and_invalid_ones_reported(tmp_path: Path) -> None:
    text = (BUILTIN / "dark.toml").read_text()
    (tmp_path / "a.toml").write_text(text.replace('"dark"', '"night"'))
    (tmp_path / "b.toml").write_text("name = [")
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "d.toml").mkdir()
    (tmp_path / "e.toml").write_text(text.replace("#56b4e9", "#123456"))
    themes, problems = load_all(tmp_path)
    assert "night" in themes
    assert themes["dark"].base["primary"] == "#123456", "the user's own replaces ours"
    assert [p.split(":")[0] for p in problems] == ["theme b.toml", "theme c.toml", "theme d.toml"]


def test_no_directory_of_ones_own_is_no_error(tmp_path: Path) -> None:
    assert load_all(tmp_path / "none") == load_all()
    with pytest.raises(ThemeError, match="No such file"):
        load(tmp_path / "none.toml")


def test_a_theme_chosen_by_key_is_remembered_beside_the_users_own_settings(tmp_path: Path) -> None:
    file = settings.state_file({"XDG_STATE_HOME": str(tmp_path), "HOME": "/nowhere"})
    assert file == tmp_path / "pytop-containers/theme"
    assert settings.remembered(file) is None
    settings.remember(file, "light")
    assert settings.remembered(file) == "light"
    settings.remember(tmp_path / "pytop-containers/theme/no/directory", "dark")  # nothing to be told
