"""The dashboard, which runs without a verb."""

from __future__ import annotations

import argparse

from tui.cli import diagnostics, exits, terminal, verbs
from tui.present.messages import Message, say


def main(args: argparse.Namespace) -> int:
    """Open it on this terminal; without a terminal, report what works instead."""
    reason = terminal.why_no_screen()
    if reason is not None:
        command = f"{diagnostics.PROGRAM} stats --once"
        diagnostics.complain(say(Message.NEEDS_TERMINAL, reason=reason, command=command))
        return exits.USAGE
    terminal.ensure_size()
    terminal.log_to_file()
    code: int = verbs.load(verbs.ON_SCREEN["dashboard"]).run(args)
    return code
