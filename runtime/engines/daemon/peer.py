"""Which user's process listens at a socket, according to the kernel.

A daemon's answers name processes, cgroups and files of this machine. Those named by a daemon of another, unprivileged
user are used only if they belong to that user. Source: unix(7), SO_PEERCRED.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from typing import Final, Protocol

ROOT_UID: Final = 0
_CREDENTIALS: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid


class _Socket(Protocol):
    def getsockopt(self, level: int, name: int, length: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """The users as whom the daemon at one endpoint has answered so far.

    Attributes:
        uids: the users of the listening processes of all connections, as this process sees them.
        remote: whether it is reached by TCP, where the kernel knows no user; such an address is always configured.
    """

    uids: frozenset[int] = frozenset()
    remote: bool = False

    @property
    def trusted(self) -> bool:
        """Whether it may name other users' containers: root's, this user's own, or at a configured TCP address."""
        return self.remote or (bool(self.uids) and not self._others)

    @property
    def user(self) -> int | None:
        """The only user whose processes, cgroups and files an untrusted peer may name; None when it may name none."""
        others = self._others
        return next(iter(others)) if len(others) == 1 else None

    @property
    def owners(self) -> frozenset[int]:
        """The users whose files may be read because its answers name them."""
        if self.remote:
            return frozenset()
        if self.trusted:
            return self.uids
        return self._others if self.user is not None else frozenset()

    @property
    def _others(self) -> frozenset[int]:
        return self.uids - {ROOT_UID, os.geteuid()}


def uid(connected: _Socket) -> int:
    """The user of the process that called listen(2) at the other end of a connected unix socket."""
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, listener, _ = _CREDENTIALS.unpack(raw)
    return int(listener)
