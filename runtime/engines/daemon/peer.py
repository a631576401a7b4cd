"""Who answers at a socket: the user as whom the daemon listens, by the kernel's word.

An answer names processes, cgroups and files of this machine. What a daemon of another, unprivileged user names is
believed only as far as it is that user's. Source: unix(7), SO_PEERCRED.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from typing import Final, Protocol

ROOT: Final = 0
_CREDENTIALS: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid


class _Socket(Protocol):
    def getsockopt(self, level: int, name: int, length: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """The users as whom the daemon at one endpoint has answered so far.

    Attributes:
        uids: the users as whom the other ends of all connections listened, as this process sees them.
        remote: it is reached by TCP, where the kernel knows no user; somebody has configured that address.
    """

    uids: frozenset[int] = frozenset()
    remote: bool = False

    @property
    def trusted(self) -> bool:
        """Root's, our own user's, or at a configured TCP address: it may name containers of other users."""
        return self.remote or (bool(self.uids) and not self._others)

    @property
    def user(self) -> int | None:
        """The user whose processes, cgroups and files alone an untrusted one may name; None when it may name none."""
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
        return self.uids - {ROOT, os.geteuid()}


def uid(connected: _Socket) -> int:
    """The user as whom the other end of a connected unix socket called listen(2)."""
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, found, _ = _CREDENTIALS.unpack(raw)
    return int(found)
