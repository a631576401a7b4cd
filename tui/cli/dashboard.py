"""The dashboard, which runs without a verb."""

from __future__ import annotations

import argparse

from tui.cli import diagnostics, exits, terminal, verbs


def main(args: argparse.Namespace) -> int:
    """Open it on this terminal; without a terminal, report what works instead."""
    reason = terminal.why_no_screen()
    if reason is not None:
        diagnostics.complain(f"the dashboard needs a terminal: {reason}. Try `{diagnostics.PROGRAM} stats --once`")
        return exits.USAGE
    terminal.log_to_file()
    code: int = verbs.load(verbs.ON_SCREEN["dashboard"]).run(args)
    return code
