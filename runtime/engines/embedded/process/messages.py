"""Messages between client, zygote, shim and init: JSON; an error is rebuilt as the same class on the other side."""

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


def error_to_json(error: PytopError) -> dict[str, Any]:
    """The error as a JSON object; a subclass that `runtime.errors` does not know is sent as its base class there."""
    kind = next(c.__name__ for c in type(error).__mro__ if getattr(errors, c.__name__, None) is c)
    return {
        "kind": kind,
        "title": error.title,
        "detail": error.detail,
        "hint": error.hint,
        "path": error.path,
        "errno": error.errno,
    }


def error_from_json(document: dict[str, Any]) -> PytopError:
    """The inverse of `error_to_json`."""
    kind: type[PytopError] = getattr(errors, document["kind"])
    return kind(
        document["title"],
        detail=document["detail"],
        hint=document["hint"],
        path=document["path"],
        errno=document["errno"],
    )


def answer(reply: socket.socket, error: PytopError | None) -> None:
    """Send the one answer to a request and close; the client may be gone."""
    message = {} if error is None else {"error": error_to_json(error)}
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
