"""The interfaces by which traffic leaves a network namespace; the others carry it there, or never leave.

External are real devices, and devices whose lower device or peer is in another namespace (IFLA_LINK_NETNSID). Bridges,
tunnels, VLANs and veth pairs to nested containers are internal: what leaves by them passes an external interface too.
Of veth pairs, those are external whose peer is in this program's namespace; a pair to any other namespace is internal
as long as there is another external interface.
Source: rtnetlink(7), veth(4), net/core/rtnetlink.c (rtnl_fill_link_netnsid).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from runtime.kernel import netlink

_OWN_NAMESPACE: Final = "/proc/thread-self/ns/net"
_IFF_LOOPBACK: Final = 0x8
_PAIR_KINDS: Final = frozenset({"veth", "netkit"})
_UNDECIDED_KINDS: Final = frozenset({"tun", "wireguard", "ppp"})
"""Kinds that may be external through a program or socket of another namespace (rootless); the kernel does not tell."""


def names(netns_fd: int) -> frozenset[str]:
    """The names of the external interfaces of a network namespace; about 1.5 ms.

    Not for a thread with a running event loop. Raises `DeniedError` without the right to enter it, `KernelError`.
    """
    with netlink.connect("find the interfaces of a network namespace", netns_fd) as ip:
        return frozenset(name_of(link) for link in of_namespace(ip))


def of_namespace(ip: Any) -> list[Any]:
    """The external interfaces of the namespace of an IPRoute, as pyroute2 gives them."""
    links = [link for link in ip.get_links() if not link["flags"] & _IFF_LOOPBACK]
    return external_links(links, _own_netnsid(ip))


def external_links(links: Sequence[Any], ours: int | None) -> list[Any]:
    """The interfaces that lead out of their namespace; `ours` is the id that this program's namespace has there.

    If none certainly does, those that may: a pair whose peer is in a daemon's own namespace, or a tun device that a
    program serves. A port of a bridge never does.
    """
    sure = [link for link in links if _is_external(link, ours)]
    ends = [link for link in links if link.get_attr("IFLA_MASTER") is None]
    elsewhere = [link for link in ends if kind_of(link) in _PAIR_KINDS and _beyond(link) is not None]
    return sure or elsewhere or [link for link in ends if kind_of(link) in _UNDECIDED_KINDS]


def _is_external(link: Any, ours: int | None) -> bool:
    kind, beyond = kind_of(link), _beyond(link)
    if kind is None:
        return True
    return beyond is not None and (kind not in _PAIR_KINDS or beyond == ours)


def _beyond(link: Any) -> int | None:
    """The id of the namespace of its lower device or peer; None when that is in the same one."""
    found: int | None = link.get_attr("IFLA_LINK_NETNSID")
    return found


def _own_netnsid(ip: Any) -> int | None:
    """The id of this program's namespace there. The kernel assigns ids when it lists links, so call this later."""
    fd = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found: int | None = (ip.get_netnsid(fd=fd) or {}).get("nsid")
    finally:
        os.close(fd)
    return found


def kind_of(link: Any) -> str | None:
    """What it is to the kernel ("veth", "bridge"); None for a real device."""
    info = link.get_attr("IFLA_LINKINFO")
    return info.get_attr("IFLA_INFO_KIND") if info is not None else None


def name_of(link: Any) -> str:
    """Its name."""
    return str(link.get_attr("IFLA_IFNAME"))
