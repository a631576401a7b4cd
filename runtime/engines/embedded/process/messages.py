"""Answers between processes: an error of ours goes over as JSON and comes out as the same error."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from typing import Any, Final

from runtime import errors
from runtime.errors import InvalidError, PytopError, UnavailableError

PROTOCOL: Final = 2
"""Version of the requests between a client and a zygote. A request without one is of version 1."""
QUIT: Final = b'{"op":"quit"}'
"""The request to end; the same in every version, so that each can end the zygotes of the others."""


class ProgramError(InvalidError):
    """The program cannot be exec'ed in the container; `exit_code` is what a shell would give (127, 126)."""

    def __init__(self, program: str, number: int, exit_code: int) -> None:
        super().__init__(
            f"The program {program!r} cannot be run in the container",
            detail=os.strerror(number),
            hint="Give a program that is in the image, or its full path",
            errno=number,
        )
        self.exit_code = exit_code


def describe(error: PytopError) -> dict[str, Any]:
    """What goes over; a subclass of our own travels as the public error that it is."""
    kind = next(c.__name__ for c in type(error).__mro__ if getattr(errors, c.__name__, None) is c)
    return {
        "kind": kind,
        "title": error.title,
        "detail": error.detail,
        "hint": error.hint,
        "path": error.path,
        "errno": error.errno,
    }


def rebuild(said: dict[str, Any]) -> PytopError:
    """The inverse of `describe`."""
    kind: type[PytopError] = getattr(errors, said["kind"])
    return kind(said["title"], detail=said["detail"], hint=said["hint"], path=said["path"], errno=said["errno"])


def answer(reply: socket.socket, error: PytopError | None) -> None:
    """The one message that a request gets; whoever asked may be gone."""
    message = {} if error is None else {"error": describe(error)}
    with suppress(OSError):
        reply.send(json.dumps(message).encode())
    reply.close()


def check_protocol(request: dict[str, Any]) -> None:
    """Raise `UnavailableError` for a request of another version: that of a client whose code was replaced meanwhile."""
    if request.get("protocol", 1) != PROTOCOL:
        raise UnavailableError(
            "start the container's helper process",
            detail="this program was upgraded after it was started",
            hint="Start the program again",
        )
