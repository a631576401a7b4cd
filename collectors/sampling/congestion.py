"""What a busy network suffers from: TCP segments that were sent again, and bytes that wait in its queues.

Both cost more than the counters of its interfaces, so they are read only of namespaces that carried
`BUSY_BYTES_PER_S`, and for `BUSY_S` after that: what is held back carries less. They are read once a sweep, whoever
shares the namespace, and of `MAX_NETWORKS` at once: those that have been busy longest.
Source: proc_pid_net(5), RFC 4022 (tcpRetransSegs).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from collectors.sampling.sample import NetCounters
from runtime.errors import DeniedError, PytopError
from runtime.kernel import qdisc
from runtime.model import Missing

BUSY_BYTES_PER_S: Final = 131_072  # 1 Mbit/s, received and sent
BUSY_S: Final = 10.0
MAX_NETWORKS: Final = 8  # about 60 us each
READ_BYTES: Final = 16_384  # of net/snmp, which has some 2,000
NS_PER_S: Final = 1_000_000_000
_TCP: Final = b"\nTcp: "
_RETRANSMITTED: Final = b"RetransSegs"


class Congestion(NamedTuple):
    """A counter of TCP segments, and a gauge of bytes."""

    retransmits: int | Missing = Missing.NOT_SAMPLED
    backlog: int | Missing = Missing.NOT_SAMPLED


NOT_BUSY: Final = Congestion()


@dataclass(slots=True)
class _Traffic:
    """The traffic of one namespace: bytes so far, when they were counted, until when it counts as busy."""

    carried_bytes: int
    at_ns: int
    busy_until_ns: int = 0


class CongestionReader:
    """Reads it by network namespace; for one thread at a time."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = str(proc)
        self._traffic: dict[int, _Traffic] = {}
        self._now: dict[int, Congestion] = {}
        self._now_ns = 0
        self._followed: set[int] = set()  # namespaces of which it is read

    def begin(self, now_ns: int) -> None:
        """Start a sweep; `now_ns` is CLOCK_MONOTONIC."""
        self._now_ns = now_ns
        if self._now:
            self._now = {}

    def keep_only(self, namespaces: frozenset[int]) -> None:
        """Forget those of no container any more: an inode is used again."""
        self._traffic = {inode: traffic for inode, traffic in self._traffic.items() if inode in namespaces}
        self._followed &= namespaces

    def read(self, pid: int, inode: int, counters: Mapping[str, NetCounters] | Missing) -> Congestion:
        """That of the namespace `inode`, in which the process `pid` is; `counters` are those of now."""
        if isinstance(counters, Missing):
            return NOT_BUSY
        found = self._now.get(inode)
        if found is None:
            if not self._is_busy(inode, counters):
                self._followed.discard(inode)
            elif len(self._followed) < MAX_NETWORKS:
                self._followed.add(inode)
            followed = inode in self._followed
            found = Congestion(self._retransmits(pid), self._backlog(pid, inode)) if followed else NOT_BUSY
            self._now[inode] = found
        return found

    def _is_busy(self, inode: int, counters: Mapping[str, NetCounters]) -> bool:
        carried = sum(each.rx_bytes + each.tx_bytes for each in counters.values() if each.external)
        traffic = self._traffic.get(inode)
        if traffic is None:
            self._traffic[inode] = _Traffic(carried, self._now_ns)
            return False
        elapsed_ns = self._now_ns - traffic.at_ns
        if elapsed_ns > 0:
            if (carried - traffic.carried_bytes) * NS_PER_S >= BUSY_BYTES_PER_S * elapsed_ns:
                traffic.busy_until_ns = self._now_ns + round(BUSY_S * NS_PER_S)
            traffic.carried_bytes, traffic.at_ns = carried, self._now_ns
        return self._now_ns < traffic.busy_until_ns

    def _retransmits(self, pid: int) -> int | Missing:
        try:
            fd = os.open(f"{self._proc}/{pid}/net/snmp", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return retransmitted(os.read(fd, READ_BYTES))
            finally:
                os.close(fd)
        except PermissionError:
            return Missing.DENIED
        except OSError:
            return Missing.UNSUPPORTED

    def _backlog(self, pid: int, inode: int) -> int | Missing:
        try:
            fd = os.open(f"{self._proc}/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return sum(qdisc.backlogs(fd).values()) if os.fstat(fd).st_ino == inode else Missing.GONE
            finally:
                os.close(fd)
        except (PermissionError, DeniedError):
            return Missing.DENIED
        except (OSError, PytopError):
            return Missing.UNSUPPORTED


def retransmitted(data: bytes) -> int | Missing:
    """net/snmp, which has a line of names and a line of values for each protocol."""
    names_at = data.find(_TCP)
    values_at = data.find(_TCP, names_at + 1) if names_at >= 0 else -1
    if values_at < 0:
        return Missing.UNSUPPORTED
    names, values = (data[at + 1 :].partition(b"\n")[0].split() for at in (names_at, values_at))
    try:
        count = int(values[names.index(_RETRANSMITTED)])
    except (ValueError, IndexError):
        return Missing.UNSUPPORTED
    return count if count >= 0 else Missing.UNSUPPORTED
