"""Runs the command line; an error becomes one line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence

from runtime.errors import PytopError
from tui.cli import exits, verbs
from tui.cli.diagnostics import complain
from tui.cli.parser import build


def run(argv: Sequence[str] | None = None) -> int:
    """The exit code. Only a bug with PYTOP_DEBUG=1 ends in a traceback."""
    try:
        args = build().parse_args(argv)
        gc.enable()
        if not args.read_only:
            for words in _settle_abandoned():
                complain(words)
        code: int = args.func(args)
        sys.stdout.flush()
        return code
    except PytopError as error:
        complain(error)
        return exits.code_of(error)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return exits.NO_READER
    except OSError as error:
        _drop_output()
        complain(PytopError.from_os("the system said no", error))
        return exits.FAILED
    except Exception as error:
        if os.environ.get("PYTOP_DEBUG"):
            raise
        title = f"a bug: {type(error).__name__}"
        complain(PytopError(title, detail=str(error), hint="PYTOP_DEBUG=1 shows where; please report it"))
        return exits.BROKEN


def _settle_abandoned() -> list[str]:
    """Put back what commands that were killed have left lowered, and leases that nobody watches; what is to be told."""
    words: list[str]
    if verbs.load(verbs.RUN_DIRECTORY).contains(verbs.LEASE_FILES):
        words = verbs.load(verbs.LEASES).settle_abandoned()
    else:
        words = verbs.load(verbs.LIMIT_JOURNAL).restore_abandoned()
    return words


def _drop_output() -> None:
    """Redirect buffered output to /dev/null, so that the interpreter's flush at exit does not fail on it again."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
