"""The dashboard itself, which is what happens without a verb."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from runtime.errors import PytopError
from tui.cli import exits, output
from tui.cli.common import engines

LOG = "PYTOP_LOG"


def main(args: argparse.Namespace) -> int:
    """Open it on this terminal; without one, say what works instead."""
    reason = why_no_screen()
    if reason is not None:
        output.complain(f"the dashboard needs a terminal: {reason}. Try `{output.PROGRAM} stats --once`")
        return exits.USAGE
    log_to_file()
    from tui.app.app import PytopApp
    from tui.app.keymap import VOCABULARY
    from tui.core import settings
    from tui.core.session import Session

    chosen = settings.load(settings.home(os.environ), VOCABULARY)
    session = Session(engines(args), interval=args.interval or chosen.interval or 1.0, read_only=args.read_only)
    app = PytopApp(session, theme=args.theme, ascii_only=args.ascii, chosen=chosen, grouped=args.groups)
    app.run()
    return app.return_code or exits.OK


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
    path = os.environ.get(LOG)
    if path:
        try:
            handler: logging.Handler = logging.FileHandler(path, delay=False)
        except OSError as error:
            raise PytopError.from_os("write the log", error, hint=f"{LOG} names this file") from error
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    else:
        handler = logging.NullHandler()
    logging.basicConfig(handlers=[handler], level=logging.INFO)
