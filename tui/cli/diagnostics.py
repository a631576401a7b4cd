"""Messages on stderr; data goes to stdout (`output`)."""

from __future__ import annotations

import sys
import unicodedata

PROGRAM = "pytop-containers"


def clean(text: str) -> str:
    """Make a name from outside safe to print: control and direction-changing characters become their escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character == " " or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        else character.encode("unicode_escape").decode()
        for character in text
    )


def complain(problem: Exception | str) -> None:
    """Print one line on stderr."""
    print(f"{PROGRAM}: {clean(str(problem))}", file=sys.stderr)
