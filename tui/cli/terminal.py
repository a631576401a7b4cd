"""Whether there is a terminal to draw on, and where log lines go while it is drawn on."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from runtime.errors import PytopError
from tui.present.locale_signs import is_utf8
from tui.present.messages import Message, say

LOG_VARIABLE = "PYTOP_LOG"
NO_TERMINALS = frozenset({"", "dumb", "unknown"})  # values of TERM with which nothing can be drawn


def why_no_screen() -> str | None:
    """Why nothing can be drawn here, or None."""
    for stream, reason in ((sys.stdin, Message.INPUT_NO_TERMINAL), (sys.stdout, Message.OUTPUT_NO_TERMINAL)):
        if stream is None or stream.closed or not stream.isatty():
            return say(reason)
    term = os.environ.get("TERM", "")
    return term_text(term) if term in NO_TERMINALS else None


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
