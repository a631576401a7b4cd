"""The interfaces by which a container's traffic leaves its network namespace, and their peers in ours.

A container may have networks inside: bridges, tunnels, veth pairs to containers that run in it. Traffic there reaches
the outside only by the interfaces that lead out, so only these are limited. The kernel tells which they are: a real
device, and one whose lower device or peer is in another namespace (IFLA_LINK_NETNSID). Of veth pairs, those count
whose peer is in our namespace; a pair to any other namespace is internal to the container as long as there is another
way out. Source: rtnetlink(7), veth(4), net/core/rtnetlink.c (rtnl_fill_link_netnsid).
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
_OURS: Final = "/proc/thread-self/ns/net"
_IFF_LOOPBACK: Final = 0x8
_PAIRS: Final = frozenset({"veth", "netkit"})
_UNSAID: Final = frozenset({"tun", "wireguard", "ppp"})
"""May lead out by a program or a socket of another namespace, as in a rootless container; the kernel does not say."""


@dataclass(frozen=True, slots=True)
class End:
    """One end of an interface pair: its index, in the container's namespace (`inner`) or in ours."""

    index: int
    name: str
    inner: bool


@dataclass(frozen=True, slots=True)
class Ends:
    """Where each direction of a container is shaped; `no_ingress` says why it cannot be."""

    egress: tuple[End, ...]
    ingress: tuple[End, ...]
    no_ingress: str = ""


@contextmanager
def namespace(pid: int, expected: int | None = None) -> Iterator[int]:
    """The network namespace of a process, open. Raises when it is gone, not the expected one, denied, or the host's."""
    what = f"look at the network of process {pid}"
    path = f"/proc/{pid}/ns/net"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFoundError(what, detail="it has ended") from error
    except OSError as error:
        raise DeniedError.from_os(what, error, hint="Run it with sudo") from error
    try:
        held = os.fstat(fd).st_ino
        if expected not in (None, held):
            raise NotFoundError(what, detail="it has ended")
        if held == os.stat(_OURS).st_ino or held == _of_init():
            raise UnsupportedError(what, detail="it uses the host's own network")
        yield fd
    finally:
        os.close(fd)


def _of_init() -> int:
    with suppress(OSError):
        return os.stat("/proc/1/ns/net").st_ino
    return 0


def find(pid: int, fd: int) -> Ends:
    """The ways out of a namespace, and the ends of their pairs in ours."""
    what = f"find the interfaces of process {pid}"
    with netlink.connect(what, fd) as ip:
        links = ways_out([link for link in ip.get_links() if not link["flags"] & _IFF_LOOPBACK], _number_of_ours(ip))
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


def ways_out(links: Sequence[Any], ours: int | None) -> list[Any]:
    """The interfaces that lead out of their namespace; `ours` is the number that our namespace has there.

    Where none certainly does, those that may: a pair whose peer is in a daemon's own namespace, or a tun device that a
    program serves. A bridge's port is neither.
    """
    sure = [link for link in links if _is_sure(link, ours)]
    ends = [link for link in links if link.get_attr("IFLA_MASTER") is None]
    elsewhere = [link for link in ends if _kind(link) in _PAIRS and link.get_attr("IFLA_LINK_NETNSID") is not None]
    return sure or elsewhere or [link for link in ends if _kind(link) in _UNSAID]


def _is_sure(link: Any, ours: int | None) -> bool:
    kind, beyond = _kind(link), link.get_attr("IFLA_LINK_NETNSID")
    if kind is None:
        return True
    return beyond is not None and (kind not in _PAIRS or beyond == ours)


def _number_of_ours(ip: Any) -> int | None:
    """The kernel numbers the namespaces of other ends when it first speaks of them, so this is asked for afterwards."""
    fd = os.open(_OURS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found: int | None = (ip.get_netnsid(fd=fd) or {}).get("nsid")
    finally:
        os.close(fd)
    return found


def _other_end(ip: Any, link: Any, fd: int) -> End | None:
    """The end in our namespace of a veth pair whose other end is `link`, in the namespace `fd`; None when elsewhere.

    Asked for by its index: a host with hundreds of containers has hundreds of others.
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
