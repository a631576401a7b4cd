"""Containers on the embedded engine's bridge do not reach beyond this host, whatever the host forwards.

Also looked at: IPv6, which is off on the bridge by a sysctl only, that others rewrite as well; and a bridge whose rule
somebody has removed. Each test is in a network namespace of its own, with another one "outside" behind a veth.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.doctor import Level, forwarding_check
from runtime.engines.embedded.networks import bridge
from runtime.errors import ConflictError
from runtime.kernel import forwarding
from tests.integration.test_embedded_network import BRIDGE, SUBNET, apart, ids, inside, namespaces

pytestmark = pytest.mark.root

HOST, OUTSIDE = "198.51.100.1", "198.51.100.2"  # TEST-NET-2


def forward() -> None:
    """What a Docker does that starts after the bridge was made."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")  # the kernel passes a change on to every interface
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def connect_outside(fd: int) -> None:
    """A veth from this namespace to `fd`, which sends its answers back here."""
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        ip.link("add", ifname="out", kind="veth", state="up", peer={"ifname": "in", "net_ns_fd": fd})
        index = ip.link_lookup(ifname="out")[0]
        ip.addr("add", index=index, address=HOST, prefixlen=24)
    with inside(fd), IPRoute() as ip:
        index = ip.link_lookup(ifname="in")[0]
        ip.link("set", index=index, state="up")
        ip.addr("add", index=index, address=OUTSIDE, prefixlen=24)
        ip.route("add", dst="default", gateway=HOST, oif=index)


def reaches(server: socket.socket) -> bool:
    try:
        socket.create_connection(server.getsockname()[:2], timeout=2).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def neighbours() -> Iterator[tuple[int, socket.socket, socket.socket, socket.socket]]:
    """A container's namespace; servers in another container, on the host and outside."""
    with namespaces(3) as (one, other, outside):
        connect_outside(outside)
        bridge.attach(BRIDGE, SUBNET, ids(2)[0], one)
        address = bridge.attach(BRIDGE, SUBNET, ids(2)[1], other).address.partition("/")[0]
        with inside(other):
            beside = socket.create_server((address, 0))
        with inside(outside):
            beyond = socket.create_server((OUTSIDE, 0))
        with beside, beyond, socket.create_server((HOST, 0)) as here:
            yield one, beside, here, beyond


@apart
def test_forwarding_that_is_switched_on_later_opens_no_way_out() -> None:
    with neighbours() as (one, beside, here, beyond):
        forward()
        assert Path(f"/proc/sys/net/ipv4/conf/{BRIDGE}/forwarding").read_text().strip() == "1"
        assert reaches(beyond)
        assert reaches(beside)
        with inside(one):
            assert not reaches(beyond)
            assert reaches(here)
            assert reaches(beside)
        assert forwarding_check(BRIDGE).level is Level.GOOD


@apart
def test_a_rule_that_somebody_removed_is_reported_and_put_back_by_the_next_start() -> None:
    from pyroute2 import IPRoute

    with neighbours() as (one, _, _, beyond):
        with IPRoute() as ip:
            forwarding.permit(ip, BRIDGE)
        missing = forwarding_check(BRIDGE)
        assert missing.level is Level.LIMITED  # forwarding is off as it happens
        forward()
        found = forwarding_check(BRIDGE)
        assert found.level is Level.BROKEN
        assert "IPv4 packets of containers are forwarded" in found.found
        assert f"rule add priority 900 iif {BRIDGE} unreachable protocol kernel" in found.remedy
        with inside(one):
            assert reaches(beyond)
        with namespaces(1) as (third,):
            bridge.attach(BRIDGE, SUBNET, "33" * 32, third)
        assert forwarding_check(BRIDGE).level is Level.GOOD
        with inside(one):
            assert not reaches(beyond)


@apart
def test_the_rules_are_there_once_and_go_with_the_bridge() -> None:
    bridge.ensure_bridge(BRIDGE, SUBNET)
    assert forwarding.missing(BRIDGE) == ()
    bridge.ensure_bridge(BRIDGE, SUBNET)
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        for family in forwarding.FAMILIES.values():
            (rule,) = (rule for rule in ip.get_rules(family=family) if rule.get_attr("FRA_IIFNAME") == BRIDGE)
            assert rule.get_attr("FRA_PROTOCOL") == 2, "systemd-networkd removes it unless it is the kernel's"
    bridge.remove_bridge(BRIDGE)
    assert forwarding.missing(BRIDGE) == ("IPv4", "IPv6")
    assert forwarding_check(BRIDGE).level is Level.GOOD  # there is none


@apart
def test_what_is_no_bridge_keeps_its_routes() -> None:
    from pyroute2 import IPRoute

    with IPRoute() as ip, namespaces(1) as (one,):
        ip.link("add", ifname=BRIDGE, kind="veth", state="up", peer={"ifname": "other", "state": "up"})
        ip.addr("add", index=ip.link_lookup(ifname=BRIDGE)[0], address=HOST, prefixlen=24)
        with pytest.raises(ConflictError, match=BRIDGE):
            bridge.ensure_bridge(BRIDGE, SUBNET)
        with pytest.raises(ConflictError, match=BRIDGE):
            bridge.attach(BRIDGE, SUBNET, ids(1)[0], one)
    assert forwarding.missing(BRIDGE) == ("IPv4", "IPv6")


@apart
@pytest.mark.parametrize(
    "rule",
    [
        {"iifname": BRIDGE, "action": "unreachable", "priority": 900, "dst": "192.0.2.0", "dst_len": 24},
        {"iifname": BRIDGE, "action": "unreachable", "priority": 40000},
        {"iifname": "eth7", "action": "unreachable", "priority": 900},
        {"iifname": BRIDGE, "action": "unreachable", "priority": 900, "fwmark": 1},
        {"iifname": BRIDGE, "table": 100, "priority": 900},
    ],
)
def test_a_rule_that_forbids_less_does_not_count(rule: dict[str, object]) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        ip.rule("add", family=2, **rule)
    assert "IPv4" in forwarding.missing(BRIDGE)
