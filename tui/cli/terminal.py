"""Whether there is a terminal to draw on, and where log lines go while it is drawn on."""

from __future__ import annotations

import logging
import os
import sys

from runtime.errors import PytopError

LOG_VARIABLE = "PYTOP_LOG"


def why_no_screen() -> str | None:
    """Why nothing can be drawn here, or None."""
    for stream, what in ((sys.stdin, "the input"), (sys.stdout, "the output")):
        if stream is None or stream.closed or not stream.isatty():
            return f"{what} is not one"
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        return f"TERM is {os.environ.get('TERM') or 'not set'}"
    return None


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
