"""The program: `pytop-containers`, also `python -m tui`."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("tui", "collectors", "runtime", "themes")
BROKEN = 70


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code; nothing but a bug with PYTOP_DEBUG=1 ends in a traceback."""
    _standard_streams()
    stranger = misplaced()
    if stranger is not None:
        sys.stderr.write(f"pytop-containers: {stranger}\n")
        return BROKEN
    from runtime.errors import PytopError
    from tui.cli import exits, output
    from tui.cli.parser import build

    try:
        args = build().parse_args(argv)
        code: int = args.func(args)
        sys.stdout.flush()
        return code
    except PytopError as error:
        output.complain(error)
        return exits.code_of(error)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return exits.NO_READER
    except OSError as error:
        _drop_output()
        output.complain(f"the system said no: {error}")
        return exits.FAILED
    except Exception as error:
        if os.environ.get("PYTOP_DEBUG"):
            raise
        logging.getLogger(__name__).debug("unexpected", exc_info=True)
        output.complain(f"a bug: {type(error).__name__}: {error}. PYTOP_DEBUG=1 shows where; please report it")
        return exits.BROKEN


def misplaced(packages: Sequence[str] = PACKAGES) -> str | None:
    """Why these packages are not one installation, in one line; None when they are.

    Their names are plain words, so another distribution, or a directory in PYTHONPATH, may hold one of them.
    """
    home = Path(__file__).resolve().parent.parent
    for name in packages:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            return f"its package {name!r} is missing beside {home}; install it anew, in an environment of its own"
        place = Path(spec.origin).resolve().parent.parent
        if place != home:
            return f"its package {name!r} comes from {place}, not from {home}; install it in an environment of its own"
    return None


def _standard_streams() -> None:
    """Put /dev/null where a standard stream is closed, so that no file or socket gets its number."""
    for fd, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != fd:
                os.dup2(opened, fd)
                os.close(opened)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the life of the process
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Let what is still buffered go nowhere, so that the interpreter does not fail on it again at exit."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


if __name__ == "__main__":
    sys.exit(main())
