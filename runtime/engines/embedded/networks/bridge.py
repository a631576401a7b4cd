"""The containers' own network: one bridge per instance, one veth pair per container.

Containers reach each other and the host over the bridge, nothing else: no NAT, no firewall rule, no global sysctl.
What keeps them from leading further is a routing rule per bridge (`runtime.kernel.forwarding`), which holds whatever
others do to the forwarding sysctls. It is there before the bridge is, every start puts it back, and it is removed with
the bridge.

Addresses in use are recorded in the kernel only, so that a SIGKILL at any moment leaves no lease behind: the host's
end of a container's veth has a name that follows from the container's id, and the address is claimed by an
alternative name of that same end ("pytop0-10.213.4.7"). Alternative names are unique in a network namespace, so two
concurrent starts cannot get one address, and the claim goes away with the interface (rtnetlink, kernel 5.5).

Every function blocks for some milliseconds and opens and closes its own netlink socket: it may run in any thread
and after a fork, but not in a thread whose event loop is running (pyroute2 has a private loop inside).
"""

from __future__ import annotations

import errno
import itertools
import socket
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from runtime.errors import ConflictError, InvalidError, KernelError
from runtime.kernel import forwarding, netlink
from runtime.kernel.netlink import ignoring

INSIDE = "eth0"
_AF_INET = 2
_RT_TABLE_LOCAL = 255
_MAX_ATTEMPTS = 64  # addresses to try before the network counts as full
_FALLBACK_NETWORKS = ("10.213.0.0/16", "10.128.0.0/9", "172.16.0.0/12", "192.168.0.0/16")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A container's network interface: `interface` inside, `peer` on the host, `address` with its prefix length."""

    interface: str
    peer: str
    address: str
    mac: str
    gateway: str


def interface_name(bridge: str, container_id: str) -> str:
    """The name of the host's end of a container's veth, 15 characters; orphans are found by it."""
    return f"{interface_prefix(bridge)}{container_id[:10]}"


def interface_prefix(bridge: str) -> str:
    """The prefix of the names of all interfaces of this bridge's containers."""
    return f"pt{zlib.crc32(bridge.encode()) & 0xFFF:03x}"


def ensure_bridge(bridge: str, subnet: str) -> str:
    """Make the bridge, up and with the first address of its subnet; returns the subnet it has.

    An existing bridge keeps its subnet. A subnet that overlaps a route of this host is left alone: the next free
    network of the same size is taken.

    Raises:
        InvalidError: malformed subnet or name.
        ConflictError: the name belongs to something else, or no private network is free.
        UnsupportedError: this kernel has no bridges. DeniedError: no right to make one.
    """
    wanted = _parse_subnet(subnet)
    if not 0 < len(bridge) <= 15 or "/" in bridge or bridge.strip() != bridge:
        raise InvalidError(f"{bridge!r} cannot be the name of a network bridge", hint="1 to 15 characters, no slash")
    with _netlink(f"set up the network bridge {bridge}") as ip:
        link = _find(ip, bridge)
        if link is None:
            forwarding.forbid(ip, bridge)
            with ignoring(errno.EEXIST):
                ip.link("add", ifname=bridge, kind="bridge", br_forward_delay=0, br_stp_state=0, br_mcast_snooping=0)
            link = _find(ip, bridge)
        if link is None or _kind(link) != "bridge":
            raise ConflictError(
                f"set up the network bridge {bridge}",
                detail=f"{bridge} is there and is not a bridge",
                hint="choose another bridge name",
            )
        forwarding.forbid(ip, bridge)
        index = int(link["index"])
        present = _address_of(ip, index)
        gateway = present or _first_address(free_subnet(wanted, _routed(ip, index)))
        _disable_forwarding(bridge)
        # A fixed MAC: a bridge else takes the lowest of its ports', and changes it under the containers' ARP caches.
        ip.link("set", index=index, address=_mac(gateway.ip), state="up")
        if present is None:
            with ignoring(errno.EEXIST):
                ip.addr("add", index=index, address=str(gateway.ip), prefixlen=gateway.network.prefixlen)
        return str(gateway.network)


def attach(bridge: str, subnet: str, container_id: str, netns_fd: int) -> Attachment:
    """Give a network namespace its loopback and an eth0 on the bridge.

    Its address follows from the container's id, so that a restart keeps it if it is still free.

    Args:
        bridge: the instance's bridge; made by `ensure_bridge` when it is not there (any more).
        subnet: what the bridge gets in that case; else the bridge's own counts.
        container_id: names the host's end. One left over under this name is replaced.
        netns_fd: the namespace.

    Raises `ConflictError` when the network is full, else as `ensure_bridge`.
    """
    what = f"connect container {container_id[:12]} to {bridge}"
    peer = interface_name(bridge, container_id)
    with _netlink(what) as ip:
        index, gateway = _gateway(ip, bridge, subnet)
        forwarding.forbid(ip, bridge)
        _create_pair(ip, peer, index, netns_fd)
        try:
            mine = _claim(what, ip, bridge, peer, _candidates(container_id, gateway))
            mac = _mac(mine.ip)
            _configure(what, netns_fd, mine, mac, gateway)
        except BaseException:
            _delete(ip, peer)
            raise
    return Attachment(INSIDE, peer, str(mine), mac, str(gateway.ip))


def detach(bridge: str, container_id: str) -> None:
    """Remove a container's interface pair and so free its address. Idempotent; about 20 ms."""
    with _netlink(f"disconnect container {container_id[:12]} from {bridge}") as ip:
        _delete(ip, interface_name(bridge, container_id))


def sweep_orphans(bridge: str, live: Sequence[str]) -> tuple[str, ...]:
    """Remove the interfaces of this bridge's containers that are not among the `live` ids; returns their names."""
    keep = {bridge, *(interface_name(bridge, container_id) for container_id in live)}
    prefix = interface_prefix(bridge)
    if all(name in keep or not name.startswith(prefix) for _, name in socket.if_nameindex()):
        return ()  # the usual case, without the 90 ms of importing pyroute2
    with _netlink(f"remove leftover interfaces of {bridge}") as ip:
        gone = tuple(name for name in _ports(ip, bridge) if name not in keep)
        for name in gone:
            _delete(ip, name)
    return gone


def remove_bridge(bridge: str) -> None:
    """Remove the bridge and every container interface that belongs to it. Idempotent; another's interface is kept."""
    sweep_orphans(bridge, ())
    with _netlink(f"remove the network bridge {bridge}") as ip:
        link = _find(ip, bridge)
        if link is not None and _kind(link) == "bridge":
            _delete(ip, bridge)
        forwarding.permit(ip, bridge)


def free_subnet(wanted: IPv4Network, routed: Sequence[IPv4Network]) -> IPv4Network:
    """`wanted`, or the next network of its size among the private ones that overlaps nothing in `routed`."""

    def following() -> Iterator[IPv4Network]:
        yield wanted
        for parent in map(IPv4Network, _FALLBACK_NETWORKS):
            if parent.prefixlen <= wanted.prefixlen:
                yield from itertools.islice(parent.subnets(new_prefix=wanted.prefixlen), 512)

    for candidate in following():
        if not any(candidate.overlaps(other) for other in routed):
            return candidate
    raise ConflictError(
        f"find a free network for the containers, {wanted} or another private one",
        detail="routes of this host overlap every one that was tried",
        hint="configure a subnet that this host does not route",
    )


# -- steps


def _parse_subnet(subnet: str) -> IPv4Network:
    try:
        network = IPv4Network(subnet)
    except ValueError as error:
        raise InvalidError(f"{subnet!r} is not an IPv4 network: {error}", hint="for example 10.213.0.0/16") from error
    if not 8 <= network.prefixlen <= 29:
        raise InvalidError(f"{subnet} has the wrong size for a container network", hint="between /8 and /29")
    return network


def _first_address(network: IPv4Network) -> IPv4Interface:
    return IPv4Interface((network.network_address + 1, network.prefixlen))


def _mac(address: IPv4Address) -> str:
    """A locally administered MAC derived from the address, so that ARP caches stay right when it is used again."""
    return ":".join(f"{byte:02x}" for byte in b"\x02\x70" + address.packed)


def _candidates(container_id: str, gateway: IPv4Interface) -> Iterator[IPv4Interface]:
    """Host addresses of the network in the order in which this container tries them: spread by its id, then onwards."""
    network = gateway.network
    usable = network.num_addresses - 3  # without network, gateway (the first) and broadcast
    start = zlib.crc32(container_id.encode()) % usable
    for step in range(min(usable, _MAX_ATTEMPTS if usable > 1024 else usable)):
        host = network.network_address + 2 + (start + step) % usable
        yield IPv4Interface((host, network.prefixlen))


def _gateway(ip: Any, bridge: str, subnet: str) -> tuple[int, IPv4Interface]:
    """Index and address of the bridge; it is made or completed first where necessary."""
    for again in (True, False):
        link = _find(ip, bridge)
        index = int(link["index"]) if link is not None else 0
        ready = link is not None and _kind(link) == "bridge" and link["flags"] & 1
        gateway = _address_of(ip, index) if ready else None
        if gateway is not None:
            return index, gateway
        if again:
            ensure_bridge(bridge, subnet)
    raise KernelError(f"find the address of {bridge}", detail="the bridge is being removed or has lost its address")


def _create_pair(ip: Any, peer: str, index: int, fd: int) -> None:
    """The pair in one message: the host's end up on the bridge, the other one as eth0 straight in the namespace."""
    arguments: dict[str, Any] = {
        "ifname": peer,
        "kind": "veth",
        "master": index,
        "state": "up",
        "peer": {"ifname": INSIDE, "net_ns_fd": fd},
    }
    with ignoring(errno.EEXIST) as refused:
        ip.link("add", **arguments)
    if refused:  # left by a start that was killed
        _delete(ip, peer)
        ip.link("add", **arguments)


def _claim(what: str, ip: Any, bridge: str, peer: str, candidates: Iterator[IPv4Interface]) -> IPv4Interface:
    """Claim an address by an alternative name, which is unique in the network namespace."""
    index = int(ip.link_lookup(ifname=peer)[0])
    for candidate in candidates:
        with ignoring(errno.EEXIST) as refused:
            ip.link("property_add", index=index, altname=f"{bridge}-{candidate.ip}")
        if not refused:
            return candidate
    raise ConflictError(
        what,
        detail="no free address was found in its network",
        hint="Remove containers that are no longer used, or configure a larger subnet",
    )


def _configure(what: str, fd: int, mine: IPv4Interface, mac: str, gateway: IPv4Interface) -> None:
    with _netlink(what, fd) as ip:
        index = int(ip.link_lookup(ifname=INSIDE)[0])
        ip.link("set", index=1, state="up")
        ip.link("set", index=index, address=mac, state="up")
        ip.addr("add", index=index, address=str(mine.ip), prefixlen=mine.network.prefixlen)
        ip.route("add", dst="default", gateway=str(gateway.ip), oif=index)
    with netlink.in_namespace(fd), suppress(FileNotFoundError):
        # `ping` works for every user in there, without CAP_NET_RAW.
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")


def _routed(ip: Any, own: int) -> list[IPv4Network]:
    """Networks that this host routes, without default routes, the host's own tables and what leads to `own`."""
    found = []
    for route in ip.get_routes(family=_AF_INET):
        destination = route.get_attr("RTA_DST")
        if destination and route.get_attr("RTA_OIF") != own and route["table"] != _RT_TABLE_LOCAL:
            found.append(IPv4Network((destination, route["dst_len"]), strict=False))
    return found


def _find(ip: Any, name: str) -> Any | None:
    answer: list[Any] = []
    with ignoring(errno.ENODEV):
        answer = ip.link("get", ifname=name)
    return answer[0] if answer else None


def _kind(link: Any) -> str | None:
    info = link.get_attr("IFLA_LINKINFO")
    return info.get_attr("IFLA_INFO_KIND") if info is not None else None


def _address_of(ip: Any, index: int) -> IPv4Interface | None:
    for entry in ip.get_addr(family=_AF_INET, index=index):
        if entry["index"] == index:
            return IPv4Interface((entry.get_attr("IFA_LOCAL"), entry["prefixlen"]))
    return None


def _ports(ip: Any, bridge: str) -> list[str]:
    """The host's ends of this bridge's containers, also of a bridge that was removed."""
    link, prefix = _find(ip, bridge), interface_prefix(bridge)
    masters = {None, link["index"] if link is not None else None}
    names = ((entry.get_attr("IFLA_IFNAME"), entry.get_attr("IFLA_MASTER")) for entry in ip.get_links())
    return [name for name, master in names if name.startswith(prefix) and name != bridge and master in masters]


def _delete(ip: Any, name: str) -> None:
    link = _find(ip, name)
    if link is not None:
        with ignoring(errno.ENODEV):
            ip.link("del", index=link["index"])


def _disable_forwarding(bridge: str) -> None:
    """Disable forwarding and IPv6 autoconfiguration on this interface alone, since containers could abuse them."""
    for setting in (f"ipv6/conf/{bridge}/disable_ipv6=1", f"ipv4/conf/{bridge}/forwarding=0"):
        path, _, value = setting.partition("=")
        file = Path("/proc/sys/net", path)
        try:
            if file.read_text().strip() != value:  # it may be right already and read-only (inside a container)
                file.write_text(value)
        except FileNotFoundError:
            continue  # a kernel without IPv6
        except OSError as error:
            raise KernelError.from_os(f"isolate the network bridge {bridge}", error) from error


def _netlink(what: str, netns_fd: int | None = None) -> AbstractContextManager[Any]:
    return netlink.connect(what, netns_fd, lacks="this kernel lacks the bridge or veth module (modprobe them)")
