"""The dashboard on a terminal: the user's settings, a session over the engines of this host, and the Textual app."""

from __future__ import annotations

import argparse
import gc
import os

from tui.app.app import PytopApp
from tui.app.keymap import VOCABULARY
from tui.cli import exits, terminal
from tui.cli.engine_choice import engines
from tui.core import settings
from tui.core.containment.assembly import ContainmentOptions
from tui.core.session import Session

DEFAULT_INTERVAL_S = 1.0


def run(args: argparse.Namespace) -> int:
    """Open it, until the user quits; the exit code."""
    chosen = settings.load(settings.home(os.environ), VOCABULARY)
    interval_s = args.interval or chosen.interval or DEFAULT_INTERVAL_S
    session = Session(
        [*engines(args)],
        interval=interval_s,
        read_only=args.read_only,
        audited=True,
        containment=ContainmentOptions(untouchable=chosen.untouchable),
    )
    gc.freeze()  # engines too stay to the end, and are not looked through by each collection
    app = PytopApp(session, theme=args.theme, ascii_only=terminal.ascii_only(args), chosen=chosen, grouped=args.groups)
    app.run()
    return app.return_code or exits.OK
