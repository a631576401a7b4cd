"""The interfaces by which a container's traffic leaves its network namespace, and their peers in the host's.

A container may have internal networks: bridges, tunnels, veth pairs to nested containers. Their traffic reaches the
outside only through the external interfaces (`runtime.kernel.external_links`), so only these are limited.
Source: rtnetlink(7), veth(4).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from runtime.errors import DeniedError, NotFoundError, UnsupportedError
from runtime.kernel import external_links, netlink
from runtime.kernel.external_links import kind_of, name_of

NONE: Final = "it has no network interface that leads out of it"
_OWN_NAMESPACE: Final = "/proc/thread-self/ns/net"


@dataclass(frozen=True, slots=True)
class End:
    """One end of an interface pair, with its index in the container's namespace (`inner`) or in this program's."""

    index: int
    name: str
    inner: bool


@dataclass(frozen=True, slots=True)
class Ends:
    """The interfaces at which each direction of a container is shaped; `no_ingress` says why there are none."""

    egress: tuple[End, ...]
    ingress: tuple[End, ...]
    no_ingress: str = ""


@contextmanager
def namespace(pid: int, expected: int | None = None) -> Iterator[int]:
    """Open the network namespace of a process. Raises when it is gone, not the expected one, denied, or the host's."""
    what = f"look at the network of process {pid}"
    path = f"/proc/{pid}/ns/net"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFoundError(what, detail="it has ended") from error
    except OSError as error:
        raise DeniedError.from_os(what, error, hint="Run it with sudo") from error
    try:
        inode = os.fstat(fd).st_ino
        if expected not in (None, inode):
            raise NotFoundError(what, detail="it has ended")
        if inode == os.stat(_OWN_NAMESPACE).st_ino or inode == _inode_of_init():
            raise UnsupportedError(what, detail="it uses the host's own network")
        yield fd
    finally:
        os.close(fd)


def _inode_of_init() -> int:
    with suppress(OSError):
        return os.stat("/proc/1/ns/net").st_ino
    return 0


def find(pid: int, fd: int) -> Ends:
    """The external interfaces of a namespace, and the ends of their pairs in this program's."""
    what = f"find the interfaces of process {pid}"
    with netlink.connect(what, fd) as ip:
        links = external_links.of_namespace(ip)
    inner = tuple(End(int(link["index"]), name_of(link), True) for link in links)
    with netlink.connect(what) as ip:
        outer = tuple(end for link in links if (end := _other_end(ip, link, fd)) is not None)
    if len(outer) == len(inner):
        return Ends(inner, outer)
    others = sorted({kind_of(link) or "a real interface" for link in links} - {"veth"})
    reason = (
        f"its interface is {', '.join(others)}, which has no end on the host to shape what it receives"
        if others
        else "the other end of its interface is in another network namespace than this program's"
    )
    return Ends(inner, (), reason)


def _other_end(ip: Any, link: Any, fd: int) -> End | None:
    """The end in this program's namespace of the veth pair with the end `link` in `fd`; None when it is elsewhere.

    Looked up by its index: a host with hundreds of containers has hundreds of interfaces.
    """
    if kind_of(link) != "veth":
        return None
    with netlink.ignoring(errno.ENODEV):
        for other in ip.link("get", index=int(link.get_attr("IFLA_LINK") or 0)):
            same = kind_of(other) == "veth" and other.get_attr("IFLA_LINK") == link["index"]
            if same and other.get_attr("IFLA_LINK_NETNSID") == (ip.get_netnsid(fd=fd) or {}).get("nsid"):
                return End(int(other["index"]), name_of(other), False)
    return None
