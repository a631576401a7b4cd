"""Gives up rights and becomes a command: what `confined_command` starts, in a process of its own with one thread.

The command gets a PID namespace where that is allowed: whatever it leaves behind ends with it. It can gain no right by
a program that is set-user-ID, and gets few files and processes. Source: pid_namespaces(7), prctl(2), getrlimit(2).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NoReturn

from runtime.kernel import syscalls

NOT_EXECUTABLE: Final = 126
_LIMITS: Final = {"CORE": 0, "CPU": 2, "NOFILE": 256, "NPROC": 256}  # files, processes, seconds of CPU


def main() -> NoReturn:
    """Become the command that the last argument describes."""
    wanted: Mapping[str, Any] = json.loads(sys.argv[-1])
    try:
        syscalls.unshare(syscalls.CLONE_NEWPID)
    except OSError:  # not root: what is left behind is found by its process group
        _become(wanted)
    first = os.fork()
    if first == 0:  # process 1 of the namespace: no command, since signals that nobody handles do not reach it
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        command = os.fork()
        if command == 0:
            _become(wanted)
        _follow(command)
    _follow(first)


def _follow(pid: int) -> NoReturn:
    """End as a child of this process does; what was left behind is waited for meanwhile."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)  # as a shell says it of a signal


def _become(wanted: Mapping[str, Any]) -> NoReturn:
    try:
        for name, most in _LIMITS.items():
            _limit(getattr(resource, f"RLIMIT_{name}"), most)
        if wanted["uid"] is not None:
            os.setgroups(wanted["groups"])
            os.setresgid(wanted["gid"], wanted["gid"], wanted["gid"])
            os.setresuid(wanted["uid"], wanted["uid"], wanted["uid"])
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of the user resets it
        os.umask(0o077)
        os.chdir("/")
        os.execve(wanted["argv"][0], wanted["argv"], wanted["environment"])
    except OSError:
        os._exit(NOT_EXECUTABLE)


def _limit(kind: int, most: int) -> None:
    """Lower a limit; one that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    lowest = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (lowest, lowest))
