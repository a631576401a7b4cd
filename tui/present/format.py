"""Values as short text: cores, bytes, rates, shares, ages; and untrusted text made safe to draw.

Plain ASCII. Numbers are rounded to two or three digits, so that few cells change from sweep to sweep.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from tui.present.cells import cell_len, set_cell_size

GAP = "-"  # a missing value; screens use `Glyphs.gap`
_UNITS = "BKMGTPE"
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Me", "Mn"})


def cores(value: float) -> str:
    """CPU in cores: "0.03", "1.53", "12.5", "128"."""
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def size(value: float) -> str:
    """Bytes in binary multiples with three digits at most: "512B", "1.5M", "120G"."""
    value = max(0.0, value)
    unit = 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    digits = 1 if unit and value < 9.95 else 0
    return f"{value:.{digits}f}{_UNITS[unit]}"


def rate(value: float) -> str:
    """Bytes per second like `size`; less than one byte is a plain 0."""
    return "0" if value < 1 else size(value)


def bits(value: float) -> str:
    """Bytes per second as bits in decimal multiples, as network rates are usually given: "20mbit"."""
    value = max(0.0, value) * 8
    for power, unit in ((3, "gbit"), (2, "mbit"), (1, "kbit")):
        if value >= 1000**power:
            number = value / 1000**power
            return f"{number:.{1 if number < 9.95 else 0}f}{unit}"
    return f"{value:.0f}bit"


def share(value: float) -> str:
    """A share of one in percent: "45%"; something that is less than one percent is "<1%"."""
    if 0 < value < 0.005:
        return "<1%"
    return f"{value * 100:.0f}%"


def count(value: float) -> str:
    """A whole number; from 10,000 on in thousands: "12k"."""
    return f"{value:.0f}" if value < 10_000 else f"{value / 1000:.0f}k"


def age(seconds: float) -> str:
    """A time span in its largest unit: "42s", "7m", "5h", "12d"."""
    for limit, unit, letter in ((60, 1, "s"), (3600, 60, "m"), (86_400, 3600, "h")):
        if seconds < limit:
            return f"{max(0.0, seconds) // unit:.0f}{letter}"
    return f"{seconds // 86_400:.0f}d"


def seconds(value: float) -> str:
    """An interval: "0.5 s", "1 s"."""
    return f"{value:g} s"


@lru_cache(4096)
def clean(text: str) -> str:
    """Make untrusted text safe to draw on one line.

    Control characters, line breaks, combining characters and characters that change the writing direction are each
    replaced by one visible character.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_safe(character) for character in unicodedata.normalize("NFC", text))


def _safe(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Zs":
        return " "
    return "\N{REPLACEMENT CHARACTER}" if category in _UNSAFE else character


def fit(text: str, width: int, *, right: bool = False, more: str = "\N{HORIZONTAL ELLIPSIS}") -> str:
    """Exactly `width` terminal cells: filled up with spaces, or cut with `more` to say so."""
    have = len(text) if text.isascii() else cell_len(text)
    if have > width:
        return set_cell_size(text, width - len(more)) + more if width > 0 else ""
    return " " * (width - have) + text if right else text + " " * (width - have)
