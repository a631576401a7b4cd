"""Exit codes. They are an interface, since scripts rely on them; the README has the same table."""

from __future__ import annotations

from collections.abc import Iterable

from runtime.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    PytopError,
    RefusedError,
    UnavailableError,
    UnsupportedError,
)

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
REFUSED = 4
UNAVAILABLE = 5
BROKEN = 70
RUN_FAILED = 125
NOT_EXECUTABLE = 126
NO_COMMAND = 127
HUNG_UP = 129
INTERRUPTED = 130
NO_READER = 141
TERMINATED = 143

HELP = """\
exit codes:
  0    done
  1    the engine or the kernel said no; after `update`: the kernel does not hold what was asked for
  2    wrong usage, or a value that makes no sense
  3    no such container or image, or a name that fits several
  4    refused: it would do harm, the rights are missing, or it cannot be done here
  5    the engine cannot be reached
  70   this installation or this program is broken, or the screen cannot be drawn
  125  `run`: the container could not be made or started
  126, 127  `run`: its command cannot be executed, is not there
  129, 143  ended by SIGHUP, by SIGTERM
  130  interrupted
  141  whoever read the output has gone away
`run` in the foreground and `wait` give the container's own exit status.
When several containers were named, the code of their failures, or 1 when these differ.
"""

_CODES: tuple[tuple[type[PytopError], int], ...] = (
    (NotFoundError, NOT_FOUND),
    (InvalidError, USAGE),
    (RefusedError, REFUSED),
    (DeniedError, REFUSED),
    (UnsupportedError, REFUSED),
    (UnavailableError, UNAVAILABLE),
    (ConflictError, FAILED),
)


def code_of(error: PytopError) -> int:
    """The exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def together(codes: Iterable[int]) -> int:
    """One code for several containers: 0 if all succeeded, the failures' code if they agree, else 1."""
    failures = {code for code in codes if code != OK}
    return OK if not failures else failures.pop() if len(failures) == 1 else FAILED
