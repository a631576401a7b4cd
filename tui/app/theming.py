"""Makes Textual themes of the project's colour themes, and names the variables that style sheets may use.

Every role of `themes.schema.ROLES` is a variable: `$use`, `$throttled`, `$critical`, `$good`, `$limit`, `$muted`,
`$cursor` and `$cursor-text`.
"""

from __future__ import annotations

from collections.abc import Mapping

from textual.theme import Theme as TextualTheme

from themes.schema import ROLES, Theme

FALLBACK: Mapping[str, str] = dict.fromkeys(ROLES, "$foreground") | {"cursor": "$primary", "cursor-text": "$background"}


def textual_theme(theme: Theme) -> TextualTheme:
    """The same colours for Textual; its own cursors and selections follow ours."""
    roles, base = theme.roles, theme.base
    variables = {
        **roles,
        "block-cursor-background": roles["cursor"],
        "block-cursor-foreground": roles["cursor-text"],
        "footer-key-foreground": base["accent"],
        "footer-background": base["panel"],
        "border": base["primary"],
        "border-blurred": roles["muted"],
        "text-muted": roles["muted"],
        "scrollbar": roles["muted"],
        "scrollbar-background": base["surface"],
    }
    if theme.ansi:
        ink, paper = ("ansi_white", "ansi_black") if theme.dark else ("ansi_black", "ansi_white")
        variables |= {"ansi-foreground": ink, "ansi-background": paper}
    return TextualTheme(
        name=theme.name,
        dark=theme.dark,
        ansi=theme.ansi,
        variables=variables,
        primary=base["primary"],
        secondary=base["secondary"],
        warning=base["warning"],
        error=base["error"],
        success=base["success"],
        accent=base["accent"],
        foreground=base["foreground"],
        background=base["background"],
        surface=base["surface"],
        panel=base["panel"],
    )
