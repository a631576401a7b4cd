"""Letters of a keyboard layout that is not Latin, and what is at their place on a Latin one. Pure."""

from __future__ import annotations

import unicodedata
from typing import Final

_CYRILLIC: Final = "йцукенгшщзхъфывапролджэячсмитьбюёіїєў"  # ЙЦУКЕН: Russian; Ukrainian; Belarusian
_LATIN: Final = "qwertyuiop[]asdfghjkl;'zxcvbnm,.`s]'o"
_CYRILLIC_SHIFTED: Final = "ХЪЖЭБЮЁЇЄ"  # whose Latin places hold signs
_LATIN_SHIFTED: Final = '{}:"<>~}"'
_PLACES: Final = {
    **dict(zip(_CYRILLIC, _LATIN, strict=True)),
    **dict(zip(_CYRILLIC.upper(), _LATIN.upper(), strict=True)),
    **dict(zip(_CYRILLIC_SHIFTED, _LATIN_SHIFTED, strict=True)),
}


def latin_at(character: str) -> str | None:
    """What a Latin layout has at the place of this character; None for an unknown layout."""
    return _PLACES.get(character)


def is_foreign(character: str) -> bool:
    """A letter of a script other than Latin."""
    return character.isalpha() and not unicodedata.name(character, "LATIN").startswith("LATIN")
