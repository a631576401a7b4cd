"""The program: `pytop-containers`, also `python -m tui`.

The packages are checked for being one installation before any of them but `tui` is imported.
"""

from __future__ import annotations

import atexit
import gc
import importlib.util
import os
import sys
from collections.abc import Sequence

from tui.cli import verbs
from tui.present import locale_signs

PACKAGES = ("tui", "collectors", "runtime", "themes")
BROKEN = 70


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; without `argv` it is that of this process."""
    if argv is None:  # modules that are loaded are no garbage: neither a collection while they are, nor one at the exit
        gc.disable()
        atexit.register(gc.freeze)
    _standard_streams()
    reason = misplaced()
    if reason is not None:
        sys.stderr.write(f"pytop-containers: {reason}\n")
        return BROKEN
    code: int = verbs.load(verbs.COMMAND_LINE).run(argv)
    return code


def misplaced(packages: Sequence[str] = PACKAGES) -> str | None:
    """Why these packages are not one installation, in one line; None when they are.

    Their names are common words, so another distribution or a directory in PYTHONPATH may contain one of them.
    """
    home = _package_parent(__file__)
    for name in packages:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            return f"its package {name!r} is missing beside {home}; install it anew, in an environment of its own"
        place = _package_parent(spec.origin)
        if place != home:
            return f"its package {name!r} comes from {place}, not from {home}; install it in an environment of its own"
    return None


def _package_parent(path: str) -> str:
    """The directory that holds the package of this file."""
    return os.path.realpath(path).rsplit("/", 2)[0]


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
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open until the process ends
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        locale_signs.prepare(stream, os.environ)


if __name__ == "__main__":
    sys.exit(main())
