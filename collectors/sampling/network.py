"""Network counters from /proc/<pid>/net/dev, which shows the namespace of that process without setns.

A namespace that several containers share is read once per sweep. Which of its interfaces lead out of it the file does
not tell: that is asked of the kernel when a namespace with more than one interface is seen first, and again when the
set of names has changed; never for one whose counters stand still. The file is opened for each read: an open
descriptor would keep the namespace, and with it the veth of a container that has ended, alive.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from collectors.sampling import parse
from collectors.sampling.sample import NetCounters
from runtime.errors import PytopError
from runtime.kernel import external_links
from runtime.model import Missing

READ_BYTES = 16384  # at once
MAX_INTERFACES = 256  # of a namespace, to be asked about; more are told apart by their names

INTERNAL_NAMES: Final = (
    *("veth", "docker", "br-", "virbr", "cni", "podman", "lxcbr", "lxdbr", "pytop", "flannel", "cali", "vxlan"),
    *("tun", "tap", "wg", "ppp", "tailscale", "ipip", "sit", "gre", "ip6tnl", "ifb", "dummy"),
)
"""How the names of bridges, tunnels and ends of nested containers begin, for where the kernel may not be asked."""

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


def external_by_name(names: Iterable[str]) -> frozenset[str]:
    """The interfaces that lead out, as far as their names tell; all of them when no name does."""
    known = frozenset(names)
    return frozenset(name for name in known if not name.startswith(INTERNAL_NAMES)) or known


class NetworkReader:
    """InterfaceCounters by network namespace, each read at most once per sweep."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = str(proc)
        self.host = host_namespace(proc)
        self._now: dict[int, InterfaceCounters] = {}
        self._last: dict[int, tuple[bytes, InterfaceCounters]] = {}
        self._external: dict[int, tuple[frozenset[str], frozenset[str]]] = {}  # by inode: all names, external ones

    def begin(self) -> None:
        """Start a sweep: every namespace is read again, and those not asked for in the last sweep are forgotten."""
        self._last = {inode: self._last[inode] for inode in self._now if inode in self._last}
        if self._external:
            self._external = {inode: found for inode, found in self._external.items() if inode in self._last}
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
        if len(parsed) > 1:
            external = self._external_names(pid, inode, frozenset(parsed))
            parsed = {
                name: counters if name in external else replace(counters, external=False)
                for name, counters in parsed.items()
            }
        self._last[inode] = data, parsed
        return parsed

    def _external_names(self, pid: int, inode: int, names: frozenset[str]) -> frozenset[str]:
        """Those of `names` that lead out of the namespace; asked of the kernel when the names are others than before.

        Without the right to enter the namespace they are told apart by their names.
        """
        known = self._external.get(inode)
        if known is not None and known[0] == names:
            return known[1]
        found = _ask(f"{self._proc}/{pid}/ns/net", inode) if len(names) <= MAX_INTERFACES else None
        external = external_by_name(names) if found is None else found & names
        self._external[inode] = names, external
        return external


def _ask(path: str, inode: int) -> frozenset[str] | None:
    """The external interfaces of the namespace at `path`; None when it cannot be entered or is another one by now."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return external_links.names(fd) if os.fstat(fd).st_ino == inode else None
    except PytopError:
        return None
    finally:
        os.close(fd)
