"""Who takes a lease or makes a change: this process, its user, and what its environment claims about its origin."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runtime.containment.lease import Holder
from runtime.kernel import procfs

_NO_LOGIN_UID: Final = 2**32 - 1  # (uid_t)-1: the process descends from no login
_CLAIM_MAX_CHARACTERS: Final = 200


UNKNOWN: Final = Holder(pid=0, started=None, uid=0)
"""Until it is asked for."""


def current(environ: Mapping[str, str] = os.environ, *, proc: Path = procfs.PROC) -> Holder:
    """This process. loginuid is the kernel's word; SUDO_USER and SSH_CLIENT are claims that anybody can make."""
    pid = os.getpid()
    return Holder(
        pid=pid,
        started=procfs.start_time(pid, proc=proc),
        uid=os.getuid(),
        loginuid=_login_uid(proc),
        sudo_user=_claim(environ.get("SUDO_USER", "")),
        ssh=_claim(environ.get("SSH_CLIENT", "")),
        namespace=procfs.pid_namespace("self", proc=proc),
    )


def is_alive(holder: Holder) -> bool:
    """It lives, or lives where this process cannot see it. Of another boot it is dead, which the caller has checked."""
    if holder.namespace != procfs.pid_namespace("self"):
        return True
    return procfs.start_time_if_alive(holder.pid) == holder.started and holder.started is not None


def is_own(holder: Holder) -> bool:
    """It is this process."""
    return holder.pid == os.getpid() and holder.started == procfs.start_time(os.getpid())


def words(holder: Holder) -> str:
    """It in words, for who meets its lease."""
    claimed = f" (claims to be {holder.sudo_user})" if holder.sudo_user else ""
    return f"process {holder.pid} of user {holder.uid}{claimed}"


def _login_uid(proc: Path) -> int | None:
    try:
        number = int((proc / "self/loginuid").read_text())
    except (OSError, ValueError):
        return None
    return None if number == _NO_LOGIN_UID else number


def _claim(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:_CLAIM_MAX_CHARACTERS]
