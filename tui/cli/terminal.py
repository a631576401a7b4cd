"""Whether there is a terminal to draw on, how large it is, and where log lines go while it is drawn on."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import struct
import sys
import termios

from runtime.errors import PytopError
from tui.present.locale_signs import is_utf8
from tui.present.messages import Message, say

LOG_VARIABLE = "PYTOP_LOG"
USUAL_SIZE = (24, 80)  # lines and columns
NO_TERMINALS = frozenset({"", "dumb", "unknown"})  # values of TERM with which nothing can be drawn


def why_no_screen() -> str | None:
    """Why nothing can be drawn here, or None."""
    for stream, reason in ((sys.stdin, Message.INPUT_NO_TERMINAL), (sys.stdout, Message.OUTPUT_NO_TERMINAL)):
        if stream is None or stream.closed or not stream.isatty():
            return say(reason)
    term = os.environ.get("TERM", "")
    return term_text(term) if term in NO_TERMINALS else None


def ensure_size() -> None:
    """Set the usual size of a terminal that says it has none, as serial lines do.

    Of two ways to ask for it, both in use by Textual, one then answers 80x24 and the other 80x25; it draws for ever.
    """
    with contextlib.suppress(OSError, ValueError):  # it is drawn on all the same
        fd = sys.stdout.fileno()
        if 0 in os.get_terminal_size(fd):
            fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", *USUAL_SIZE, 0, 0))


def ascii_only(args: argparse.Namespace) -> bool:
    """Draw with ASCII: asked for, or the locale is not one of UTF-8."""
    return args.ascii or not is_utf8(os.environ, sys.stdout.encoding)


def term_text(term: str) -> str:
    """What TERM is."""
    return say(Message.TERM_IS, term=term) if term else say(Message.TERM_NOT_SET)


def log_to_file() -> None:
    """Keep log lines off the screen: into the file that PYTOP_LOG names, or nowhere."""
    path = os.environ.get(LOG_VARIABLE)
    if path:
        try:
            handler: logging.Handler = logging.FileHandler(path, delay=False)
        except OSError as error:
            raise PytopError.from_os("write the log", error, hint=f"{LOG_VARIABLE} names this file") from error
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    else:
        handler = logging.NullHandler()
    logging.basicConfig(handlers=[handler], level=logging.INFO)
