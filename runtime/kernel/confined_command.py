"""Runs a short command that prints a little, with few rights, and leaves nothing of it behind.

There is no shell. As root it runs as another user and in a PID namespace of its own; it never gains rights, has a
minimal environment and no input, and is killed with everything that it has started when it has printed too much, has
taken too long, or has ended. Source: pidfd_open(2), kill(2).
"""

from __future__ import annotations

import json
import os
import pwd
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from runtime.errors import DeniedError, InvalidError, NotFoundError, PytopError
from runtime.kernel.confined_child import NOT_EXECUTABLE

NOBODY: Final = "nobody"
_OVERFLOW_UID: Final = 65534  # where there is no user of that name
_ENVIRONMENT: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_ROOT: Final = str(Path(__file__).parents[2])
_START: Final = "import sys; sys.path.insert(0, sys.argv[1]); from runtime.kernel.confined_child import main; main()"
_CHUNK_BYTES: Final = 4096


def run(
    argv: Sequence[str],
    *,
    user: str = "",
    environment: Mapping[str, str] | None = None,
    timeout_s: float,
    limit: int,
) -> bytes:
    """What the command prints, at most `limit` bytes. As root it runs as `user`, "" being nobody. Blocking.

    Raises `PytopError` when it cannot be run, has not ended after `timeout_s` seconds, prints more, or fails.
    """
    title = f"run {argv[0]}"
    wanted = {"argv": list(argv), "environment": {**_ENVIRONMENT, **(environment or {})}, **_identity(user, title)}
    command = [sys.executable, "-I", "-S", "-c", _START, _ROOT, json.dumps(wanted)]
    deadline = time.monotonic() + timeout_s
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=_ENVIRONMENT,
        )
    except OSError as error:
        raise PytopError.from_os(title, error) from error
    try:
        assert process.stdout is not None
        data, ended = _read(process.pid, process.stdout, deadline, limit)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it was not waited for yet, so the number is still its own
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if len(data) > limit:
        raise InvalidError(title, detail=f"it printed more than {limit} bytes")
    if not ended:
        raise PytopError(title, detail=f"it had not ended after {timeout_s:g} s and was killed")
    if process.returncode == NOT_EXECUTABLE:
        raise DeniedError(title, detail=f"it cannot be executed as {user or NOBODY}" if os.geteuid() == 0 else "")
    if process.returncode:
        raise PytopError(title, detail=f"it ended with {process.returncode}")
    return data


def _identity(user: str, title: str) -> Mapping[str, Any]:
    """As whom it runs; nothing changes for a caller that is not root."""
    if os.geteuid() != 0:
        return {"uid": None}
    try:
        entry = pwd.getpwnam(user or NOBODY)
    except KeyError:
        if user:
            raise NotFoundError(title, detail=f"there is no user {user}") from None
        return {"uid": _OVERFLOW_UID, "gid": _OVERFLOW_UID, "groups": []}
    groups = os.getgrouplist(user, entry.pw_gid) if user else []
    return {"uid": entry.pw_uid, "gid": entry.pw_gid, "groups": groups}


def _read(pid: int, stream: IO[bytes], deadline: float, limit: int) -> tuple[bytes, bool]:
    """What it prints until it has ended, or up to one byte more than `limit`; and whether it has ended in time.

    What it leaves behind may hold the pipe, so its own end counts, not that of the pipe.
    """
    process = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.register(stream, select.POLLIN)
    found = b""
    try:
        while len(found) <= limit:
            ready = {fd for fd, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)}
            if stream.fileno() in ready:
                chunk = os.read(stream.fileno(), min(_CHUNK_BYTES, limit + 1 - len(found)))
                found += chunk
                if chunk:
                    continue
                poll.unregister(stream)
            elif process in ready:
                return found, True
            if not ready:
                return found, False
        return found, False
    finally:
        os.close(process)
