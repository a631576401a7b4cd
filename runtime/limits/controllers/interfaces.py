"""The interfaces by which a container's traffic leaves its network namespace, and their peers in the host's.

A container may have internal networks: bridges, tunnels, veth pairs to nested containers. Their traffic reaches the
outside only through the external interfaces, so only these are limited. External are real devices, and devices whose
lower device or peer is in another namespace (IFLA_LINK_NETNSID). Of veth pairs, those count whose peer is in this
program's namespace; a pair to any other namespace is internal as long as there is another external interface.
Source: rtnetlink(7), veth(4), net/core/rtnetlink.c (rtnl_fill_link_netnsid).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from runtime.errors import DeniedError, NotFoundError, UnsupportedError
from runtime.kernel import netlink

NONE: Final = "it has no network interface that leads out of it"
_OWN_NAMESPACE: Final = "/proc/thread-self/ns/net"
_IFF_LOOPBACK: Final = 0x8
_PAIR_KINDS: Final = frozenset({"veth", "netkit"})
_UNDECIDED_KINDS: Final = frozenset({"tun", "wireguard", "ppp"})
"""Kinds that may be external through a program or socket of another namespace (rootless); the kernel does not tell."""


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
        links = external_links([link for link in ip.get_links() if not link["flags"] & _IFF_LOOPBACK], _own_netnsid(ip))
    inner = tuple(End(int(link["index"]), _name(link), True) for link in links)
    with netlink.connect(what) as ip:
        outer = tuple(end for link in links if (end := _other_end(ip, link, fd)) is not None)
    if len(outer) == len(inner):
        return Ends(inner, outer)
    others = sorted({_kind(link) or "a real interface" for link in links} - {"veth"})
    reason = (
        f"its interface is {', '.join(others)}, which has no end on the host to shape what it receives"
        if others
        else "the other end of its interface is in another network namespace than this program's"
    )
    return Ends(inner, (), reason)


def external_links(links: Sequence[Any], ours: int | None) -> list[Any]:
    """The interfaces that lead out of their namespace; `ours` is the id that this program's namespace has there.

    If none certainly does, those that may: a pair whose peer is in a daemon's own namespace, or a tun device that a
    program serves. A port of a bridge never does.
    """
    sure = [link for link in links if _is_external(link, ours)]
    ends = [link for link in links if link.get_attr("IFLA_MASTER") is None]
    elsewhere = [link for link in ends if _kind(link) in _PAIR_KINDS and link.get_attr("IFLA_LINK_NETNSID") is not None]
    return sure or elsewhere or [link for link in ends if _kind(link) in _UNDECIDED_KINDS]


def _is_external(link: Any, ours: int | None) -> bool:
    kind, beyond = _kind(link), link.get_attr("IFLA_LINK_NETNSID")
    if kind is None:
        return True
    return beyond is not None and (kind not in _PAIR_KINDS or beyond == ours)


def _own_netnsid(ip: Any) -> int | None:
    """The id of this program's namespace there. The kernel assigns ids when it lists links, so call this later."""
    fd = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found: int | None = (ip.get_netnsid(fd=fd) or {}).get("nsid")
    finally:
        os.close(fd)
    return found


def _other_end(ip: Any, link: Any, fd: int) -> End | None:
    """The end in this program's namespace of the veth pair with the end `link` in `fd`; None when it is elsewhere.

    Looked up by its index: a host with hundreds of containers has hundreds of interfaces.
    """
    if _kind(link) != "veth":
        return None
    with netlink.ignoring(errno.ENODEV):
        for other in ip.link("get", index=int(link.get_attr("IFLA_LINK") or 0)):
            same = _kind(other) == "veth" and other.get_attr("IFLA_LINK") == link["index"]
            if same and other.get_attr("IFLA_LINK_NETNSID") == (ip.get_netnsid(fd=fd) or {}).get("nsid"):
                return End(int(other["index"]), _name(other), False)
    return None


def _name(link: Any) -> str:
    return str(link.get_attr("IFLA_IFNAME"))


def _kind(link: Any) -> str | None:
    info = link.get_attr("IFLA_LINKINFO")
    return info.get_attr("IFLA_INFO_KIND") if info is not None else None
