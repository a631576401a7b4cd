"""What a terminal can show by the user's locale, and ASCII signs for what it cannot. Imports nothing of the program."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Final, TextIO

ERRORS: Final = "pytop_ascii"  # the name of the error handler for `TextIO.reconfigure`
LOCALE_VARIABLES: Final = ("LC_ALL", "LC_CTYPE", "LANG")  # the first that is set holds
SIGNS: Final[Mapping[str, str]] = {
    **dict.fromkeys("─━═╌┄┈▔▁▂▃▀▄", "-"),
    **dict.fromkeys("│┃║▌▐▏▎▍▕╎┆┊", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝╋┏┓┗┛", "+"),
    **dict.fromkeys("█▇▆▅▉▊▋", "#"),
    **dict.fromkeys("·•●◆", "*"),
    **dict.fromkeys("▲↑", "^"),
    **dict.fromkeys("▼▽↓", "v"),
    **dict.fromkeys("▶→", ">"),
    **dict.fromkeys("◀←", "<"),
    **dict.fromkeys("–—", "-"),
    "…": "~",
    "✓": "+",
    "✗": "x",
    "\N{NO-BREAK SPACE}": " ",
}


def is_utf8(environ: Mapping[str, str], encoding: str) -> bool:
    """Whether the user's locale is one of UTF-8, and so is `encoding`, in which it is written.

    Python writes UTF-8 in the locales C and POSIX too (PEP 538, 540), which a terminal there need not understand.
    """
    name = next((environ[variable] for variable in LOCALE_VARIABLES if environ.get(variable)), "")
    if name in ("C", "POSIX"):
        return False
    codeset = name.partition(".")[2].partition("@")[0] or encoding
    return all(each.lower().replace("-", "").replace("_", "") == "utf8" for each in (codeset, encoding))


def prepare(stream: TextIO, environ: Mapping[str, str]) -> None:
    """Never fail at a character that the stream cannot show: on a terminal signs in ASCII, in a file an escape."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is None:
        return
    if not stream.isatty():
        reconfigure(errors="backslashreplace")
    elif not is_utf8(environ, stream.encoding):
        utf8 = stream.encoding.lower().replace("-", "") == "utf8"
        reconfigure(encoding="ascii" if utf8 else None, errors=ERRORS)


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(SIGNS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in bad), error.end


codecs.register_error(ERRORS, _replace)
