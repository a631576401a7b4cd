"""Choosing networks, addresses and names. What the kernel makes of them is in integration."""

from __future__ import annotations

import errno
import itertools
import os
from ipaddress import IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engines.embedded.networks import bridge as network
from runtime.errors import ConflictError, DeniedError, InvalidError, KernelError, PytopError, UnsupportedError
from runtime.kernel import netlink

IDS = st.text("0123456789abcdef", min_size=64, max_size=64)


def nets(*texts: str) -> list[IPv4Network]:
    return [IPv4Network(text) for text in texts]


@pytest.mark.parametrize(
    "subnet", ["", "10.213.0.1/16", "10.213.0.0/33", "10.0.0.0/4", "10.0.0.0/30", "fd00::/64", "x"]
)
def test_a_malformed_subnet_is_refused_before_anything_is_made(subnet: str) -> None:
    with pytest.raises(InvalidError):
        network.ensure_bridge("pytt-none", subnet)


@pytest.mark.parametrize("name", ["", "a/b", "sixteen-letters-", " x", "x\n"])
def test_a_name_that_no_interface_can_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidError, match="name"):
        network.ensure_bridge(name, "10.231.0.0/24")


def test_the_wanted_subnet_is_taken_when_it_is_free() -> None:
    wanted = IPv4Network("10.213.0.0/16")
    assert network.free_subnet(wanted, nets("192.168.1.0/24", "10.212.0.0/16")) == wanted


@pytest.mark.parametrize("route", ["10.213.0.0/16", "10.213.7.0/24", "10.213.200.9/32", "10.0.0.0/8"])
def test_a_subnet_that_the_host_routes_is_left_alone(route: str) -> None:
    found = network.free_subnet(IPv4Network("10.213.0.0/16"), nets(route))
    assert found.prefixlen == 16
    assert found.is_private
    assert not found.overlaps(IPv4Network(route))


def test_a_host_that_routes_every_private_network() -> None:
    with pytest.raises(ConflictError, match="free network") as refused:
        network.free_subnet(IPv4Network("10.213.0.0/16"), nets("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
    assert refused.value.hint


@given(
    st.sampled_from(["10.213.0.0/16", "10.231.4.0/24", "192.168.9.8/29"]),
    st.lists(st.builds(lambda a, p: IPv4Network((a, p), strict=False), st.integers(0, 2**32 - 1), st.integers(4, 32))),
)
def test_whatever_the_host_routes_nothing_is_overlapped(subnet: str, routed: list[IPv4Network]) -> None:
    try:
        found = network.free_subnet(IPv4Network(subnet), routed)
    except ConflictError:
        return
    assert not any(found.overlaps(other) for other in routed)


@given(IDS, st.sampled_from(["10.231.0.1/29", "10.231.0.1/24", "10.213.0.1/16", "10.0.0.1/8"]))
def test_addresses_to_try(container_id: str, gateway: str) -> None:
    bridge = IPv4Interface(gateway)
    tried = list(network._candidates(container_id, bridge))
    hosts = {each.ip for each in tried}
    assert len(hosts) == len(tried) >= 5
    assert all(each.network == bridge.network for each in tried)
    assert not hosts & {bridge.ip, bridge.network.network_address, bridge.network.broadcast_address}
    assert tried == list(network._candidates(container_id, bridge))  # a restart tries the same ones


def test_a_small_network_is_used_to_its_last_address() -> None:
    assert len(list(network._candidates("ab", IPv4Interface("10.231.0.1/29")))) == 5
    assert len(list(network._candidates("ab", IPv4Interface("10.231.0.1/24")))) == 253


@given(IDS, st.text(min_size=1, max_size=15))
def test_the_host_end_is_named_after_bridge_and_container(container_id: str, bridge: str) -> None:
    name = network.interface_name(bridge, container_id)
    assert len(name) == 15  # IFNAMSIZ without its end
    assert name.startswith(network.interface_prefix(bridge))
    assert container_id.startswith(name.removeprefix(network.interface_prefix(bridge)))


def test_bridges_of_two_instances_name_their_interfaces_differently() -> None:
    prefixes = {network.interface_prefix(bridge) for bridge in ("pytop0", "pytop1", "pytd1234", "pt-ab12cd")}
    assert len(prefixes) == 4


def test_a_mac_is_local_unicast_and_follows_from_the_address() -> None:
    macs = [network._mac(IPv4Interface(a).ip) for a in ("10.213.4.7", "10.213.4.8")]
    assert macs == ["02:70:0a:d5:04:07", "02:70:0a:d5:04:08"]
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)


@pytest.mark.parametrize(
    ("number", "kind", "hint"),
    [
        (errno.EPERM, DeniedError, "root"),
        (errno.EOPNOTSUPP, UnsupportedError, "modprobe it"),
        (errno.ENOMEM, KernelError, "Free memory"),
        (errno.EINVAL, KernelError, None),
    ],
)
def test_the_kernel_s_refusal_in_our_words(number: int, kind: type[PytopError], hint: str | None) -> None:
    with pytest.raises(PytopError) as caught, netlink.connect("set up the bridge pytop0", lacks="modprobe it"):
        raise OSError(number, os.strerror(number))
    error = caught.value
    assert type(error) is kind
    assert error.errno == number
    assert hint in error.hint if hint is not None else not error.hint


def test_attempts_are_bounded_in_a_large_network() -> None:
    assert sum(1 for _ in itertools.islice(network._candidates("ab", IPv4Interface("10.0.0.1/8")), 1000)) <= 64
