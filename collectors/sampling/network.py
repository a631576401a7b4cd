"""Network counters from /proc/<pid>/net/dev, which shows the namespace of that process without setns.

A namespace that several containers share is read once per sweep. The file is opened for each read: an open
descriptor would keep the namespace, and with it the veth of a container that has ended, alive.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from collectors.sampling import parse
from collectors.sampling.sample import NetCounters
from runtime.model import Missing

READ_BYTES = 16384  # at once

InterfaceCounters = Mapping[str, NetCounters] | Missing


def network_namespace(pid: int | str, proc: Path = Path("/proc")) -> int | Missing:
    """Inode of the network namespace of a process."""
    try:
        target = os.readlink(f"{proc}/{pid}/ns/net")
        return int(target[target.index("[") + 1 : -1])
    except PermissionError:
        return Missing.DENIED
    except (OSError, ValueError):
        return Missing.GONE


def host_namespace(proc: Path = Path("/proc")) -> int | Missing:
    """The host's network namespace: that of process 1 where it can be seen, else our own."""
    found = network_namespace(1, proc)
    return found if isinstance(found, int) else network_namespace("self", proc)


class NetworkReader:
    """InterfaceCounters by network namespace, each read at most once per sweep."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = str(proc)
        self.host = host_namespace(proc)
        self._now: dict[int, InterfaceCounters] = {}
        self._last: dict[int, tuple[bytes, InterfaceCounters]] = {}

    def begin(self) -> None:
        """Start a sweep: every namespace is read again, and those not asked for in the last sweep are forgotten."""
        self._last = {inode: self._last[inode] for inode in self._now if inode in self._last}
        self._now = {}

    def counters(self, pid: int, inode: int) -> InterfaceCounters:
        """The counters of the namespace `inode`, in which the process `pid` is."""
        known = self._now.get(inode)
        if known is None:
            known = self._now[inode] = self._read(pid, inode)
        return known

    def _read(self, pid: int, inode: int) -> InterfaceCounters:
        try:
            fd = os.open(f"{self._proc}/{pid}/net/dev", os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:
            return Missing.DENIED
        except OSError:
            return Missing.GONE
        try:
            data = os.read(fd, READ_BYTES)
            while more := os.read(fd, READ_BYTES):  # a read returns whole lines, at most a page of them
                data += more
        except OSError:
            return Missing.GONE
        finally:
            os.close(fd)
        last = self._last.get(inode)
        if last is not None and last[0] == data:
            return last[1]
        parsed = parse.net_dev(data)
        self._last[inode] = data, parsed
        return parsed
