"""Traffic of a container with containers and a tunnel inside is counted where it leaves, once.

Also looked at: block devices (`test_block_layers`), the host's own line (network cards only), the limits of the network
(which shape the same interfaces, by the same rule).
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.sampling.network import NetworkReader, network_namespace
from collectors.sampling.rates import derive
from collectors.sampling.sample import Sample
from runtime.engines.embedded.networks import bridge
from tests.integration.test_embedded_network import BRIDGE, SUBNET, apart, ids, inside, namespaces

pytestmark = pytest.mark.root

PACKETS, PACKET_BYTES = 100, 1000


@contextlib.contextmanager
def process_in(fd: int) -> Iterator[int]:
    """The pid of a process in a network namespace."""
    with inside(fd):
        process = subprocess.Popen(["sleep", "600"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def address(ip: object, name: str, text: str) -> None:
    index = ip.link_lookup(ifname=name)[0]
    ip.link("set", index=index, state="up")
    ip.addr("add", index=index, address=text, prefixlen=24)


def nested_container(one: int, nested: int) -> None:
    """A bridge in `one`, and on it the veth of a container that is inside that container."""
    from pyroute2 import IPRoute

    with inside(one), IPRoute() as ip:
        ip.link("add", ifname="docker0", kind="bridge")
        ip.link("add", ifname="veth77", kind="veth", state="up", peer={"ifname": "eth0", "net_ns_fd": nested})
        ip.link("set", index=ip.link_lookup(ifname="veth77")[0], master=ip.link_lookup(ifname="docker0")[0])
        address(ip, "docker0", "172.30.0.1")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    with inside(nested), IPRoute() as ip:
        address(ip, "eth0", "172.30.0.2")
        ip.route("add", dst="default", gateway="172.30.0.1")


def tunnel(name: str, own: str, remote: str, text: str) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        ip.link("add", ifname=name, kind="vxlan", vxlan_id=7, vxlan_local=own, vxlan_group=remote, vxlan_port=4789)
        address(ip, name, text)


def send(to: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(PACKETS):
            sender.sendto(bytes(PACKET_BYTES), to)


def sample(reader: NetworkReader, pid: int, inode: int) -> Sample:
    reader.begin()
    return Sample(time.monotonic_ns(), 1, net=reader.counters(pid, inode))


@apart
def test_what_passes_a_bridge_or_a_tunnel_inside_is_counted_at_the_way_out_only() -> None:
    with namespaces(2) as (one, nested), process_in(one) as pid:
        attached = bridge.attach(BRIDGE, SUBNET, ids(1)[0], one)
        own, gateway = attached.address.partition("/")[0], attached.gateway
        inode = network_namespace(pid)
        assert isinstance(inode, int)
        reader = NetworkReader()
        assert [c.external for c in reader.counters(pid, inode).values()] == [True]  # nobody has to ask

        nested_container(one, nested)
        with inside(one):
            tunnel("vpn", own, gateway, "10.9.0.2")
        tunnel("vpn", gateway, own, "10.9.0.1")
        first = sample(reader, pid, inode)
        assert {name: c.external for name, c in first.net.items()} == {
            "eth0": True,
            "docker0": False,
            "veth77": False,
            "vpn": False,
        }
        with inside(nested):
            send((gateway, 9))
        with inside(one):
            send(("10.9.0.1", 9))
        second = sample(reader, pid, inode)

        seconds = (second.at_ns - first.at_ns) / 1e9
        usage = derive(first, second, 1)
        eth0 = second.net["eth0"].tx_bytes - first.net["eth0"].tx_bytes
        payload = PACKETS * PACKET_BYTES
        assert 2 * payload < eth0 < 2.6 * payload  # what the nested one sent, and the tunnel's with its heads
        assert usage.net.tx_bytes * seconds == pytest.approx(eth0)
        assert set(usage.net_interfaces) == {"eth0"}
        assert usage.net_internal["vpn"].tx_bytes * seconds > payload
        assert usage.net_internal["docker0"].rx_bytes * seconds > payload
        assert usage.net_internal["veth77"].rx_bytes * seconds > payload


@apart
def test_the_kernel_is_asked_again_only_when_the_names_change(monkeypatch: pytest.MonkeyPatch) -> None:
    from collectors.sampling import network

    asked: list[int] = []
    original = network.external_links.names
    monkeypatch.setattr(network.external_links, "names", lambda fd: asked.append(1) or original(fd))
    with namespaces(2) as (one, nested), process_in(one) as pid:
        gateway = bridge.attach(BRIDGE, SUBNET, ids(1)[0], one).gateway
        inode, reader = network_namespace(pid), NetworkReader()
        sample(reader, pid, inode)
        assert asked == []
        nested_container(one, nested)
        for _ in range(3):
            with inside(one):
                send((gateway, 9))
            sample(reader, pid, inode)
        assert asked == [1]
        with inside(one):
            tunnel("vpn", "10.231.0.9", gateway, "10.9.0.2")
        sample(reader, pid, inode)
        assert asked == [1, 1]


@apart
def test_without_the_right_to_look_the_names_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    from collectors.sampling import network
    from runtime.errors import DeniedError

    def refuse(_: int) -> frozenset[str]:
        raise DeniedError("look", detail="not permitted")

    monkeypatch.setattr(network.external_links, "names", refuse)
    with namespaces(2) as (one, nested), process_in(one) as pid:
        bridge.attach(BRIDGE, SUBNET, ids(1)[0], one)
        nested_container(one, nested)
        found = sample(NetworkReader(), pid, network_namespace(pid)).net
        assert {name: c.external for name, c in found.items()} == {"eth0": True, "docker0": False, "veth77": False}
