"""Bridges and interfaces in the real kernel.

Each test runs in a thread that is in a network namespace of its own, so that it can leave nothing on this host, and
sees no address or route of it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest

from runtime.engines.embedded.networks import bridge
from runtime.errors import ConflictError, DeniedError, PytopError
from runtime.kernel import syscalls
from tests.conftest import need_root
from tests.waiting import wait_until

pytestmark = pytest.mark.root

BRIDGE, SUBNET = "pytt0", "10.231.0.0/24"


def namespace() -> int:
    """A network namespace that nobody is in, by descriptor; this thread stays where it is."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        syscalls.setns(home, syscalls.CLONE_NEWNET)
        os.close(home)


@contextlib.contextmanager
def inside(fd: int) -> Iterator[None]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(fd, syscalls.CLONE_NEWNET)
    try:
        yield
    finally:
        syscalls.setns(home, syscalls.CLONE_NEWNET)
        os.close(home)


def apart(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a thread in a network namespace of its own."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        need_root("embedded")
        with ThreadPoolExecutor(1, initializer=partial(syscalls.unshare, syscalls.CLONE_NEWNET)) as pool:
            pool.submit(test, *args, **kwargs).result()

    return run


@contextlib.contextmanager
def namespaces(count: int) -> Iterator[list[int]]:
    made = [namespace() for _ in range(count)]
    try:
        yield made
    finally:
        for fd in made:
            os.close(fd)


def links() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def ids(count: int) -> list[str]:
    return [f"{number:02x}" * 32 for number in range(1, count + 1)]


@apart
def test_the_bridge_has_the_first_address_and_stays_as_it_is() -> None:
    assert bridge.ensure_bridge(BRIDGE, SUBNET) == SUBNET
    with socket.create_server(("10.231.0.1", 0)):  # the address is there
        pass
    assert bridge.ensure_bridge(BRIDGE, "10.232.0.0/16") == SUBNET
    bridge.remove_bridge(BRIDGE)
    assert BRIDGE not in links()
    bridge.remove_bridge(BRIDGE)


@apart
def test_nothing_of_the_host_is_opened_to_the_containers() -> None:
    def forwarding(where: str) -> str:
        return Path(f"/proc/sys/net/ipv4/conf/{where}/forwarding").read_text().strip()

    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")  # as Docker leaves a host; here in the test's own namespace
    bridge.ensure_bridge(BRIDGE, SUBNET)
    assert (forwarding("all"), forwarding(BRIDGE)) == ("1", "0")
    if Path("/proc/sys/net/ipv6").exists():
        assert Path(f"/proc/sys/net/ipv6/conf/{BRIDGE}/disable_ipv6").read_text().strip() == "1"


@apart
def test_a_subnet_that_is_routed_already_is_left_alone() -> None:
    first, second = bridge.ensure_bridge(BRIDGE, SUBNET), bridge.ensure_bridge("pytt1", SUBNET)
    assert first == SUBNET
    assert second != SUBNET
    with namespaces(1) as (one,):
        made = bridge.attach("pytt1", SUBNET, ids(1)[0], one)
        assert made.gateway == second.replace(".0/24", ".1")


@apart
def test_a_name_that_is_something_else_s_is_refused() -> None:
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        ip.link("add", ifname=BRIDGE, kind="veth", peer={"ifname": "other"})
    with pytest.raises(ConflictError, match=BRIDGE):
        bridge.ensure_bridge(BRIDGE, SUBNET)
    bridge.remove_bridge(BRIDGE)
    assert BRIDGE in links()


@apart
def test_containers_reach_each_other_and_the_host_and_it_them() -> None:
    with namespaces(2) as (one, other):
        first, second = (bridge.attach(BRIDGE, SUBNET, i, fd) for i, fd in zip(ids(2), (one, other), strict=True))
        assert first.interface == "eth0"
        assert first.address != second.address
        host = first.address.partition("/")[0]
        with inside(one):
            server = socket.create_server((host, 0))
            assert links() == {"lo", "eth0"}
        with server, socket.create_server((first.gateway, 0)) as own:
            port = server.getsockname()[1]
            with inside(other):
                socket.create_connection((host, port), timeout=5).close()
                socket.create_connection(own.getsockname()[:2], timeout=5).close()
                local = socket.create_server(("127.0.0.1", 0))
                socket.create_connection(local.getsockname()[:2], timeout=5).close()
                local.close()
            socket.create_connection((host, port), timeout=5).close()
        with inside(one):
            assert (
                Path("/proc/thread-self/net/route").read_text().count("\n") == 3
            )  # a header, the default, the network


@apart
def test_every_user_inside_may_ping_and_nothing_outside_changes() -> None:
    setting = Path("/proc/sys/net/ipv4/ping_group_range")
    before = setting.read_text()
    with namespaces(1) as (one,):
        bridge.attach(BRIDGE, SUBNET, ids(1)[0], one)
        assert setting.read_text() == before
        with inside(one):
            assert setting.read_text().split() == ["0", "2147483647"]


@apart
def test_a_removed_bridge_is_created_again() -> None:
    bridge.ensure_bridge(BRIDGE, SUBNET)
    bridge.remove_bridge(BRIDGE)
    with namespaces(1) as (one,):
        assert bridge.attach(BRIDGE, SUBNET, ids(1)[0], one).gateway == "10.231.0.1"


@apart
def test_a_restart_keeps_the_address() -> None:
    with namespaces(2) as (before, after):
        first = bridge.attach(BRIDGE, SUBNET, ids(1)[0], before)
        bridge.detach(BRIDGE, ids(1)[0])
        assert bridge.attach(BRIDGE, SUBNET, ids(1)[0], after) == first


@apart
def test_a_full_network_says_so_and_leaves_nothing_half_made() -> None:
    with namespaces(6) as fds:
        made = [bridge.attach(BRIDGE, "10.231.0.0/29", i, fd) for i, fd in zip(ids(5), fds, strict=False)]
        assert len({each.address for each in made}) == 5
        before = links()
        with pytest.raises(ConflictError, match="connect") as refused:
            bridge.attach(BRIDGE, "10.231.0.0/29", ids(6)[5], fds[5])
        assert refused.value.hint
        assert links() == before
        bridge.detach(BRIDGE, ids(1)[0])
        assert bridge.attach(BRIDGE, "10.231.0.0/29", ids(6)[5], fds[5]).address == made[0].address


@apart
def test_concurrent_starts_never_get_one_address() -> None:
    bridge.ensure_bridge(BRIDGE, "10.231.0.0/28")
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with namespaces(12) as fds, ThreadPoolExecutor(6) as pool:

        def attach(container_id: str, fd: int) -> str:
            with inside(here):
                return bridge.attach(BRIDGE, "10.231.0.0/28", container_id, fd).address

        addresses = list(pool.map(attach, ids(12), fds))
    os.close(here)
    assert len(set(addresses)) == 12


@apart
def test_concurrent_first_starts_make_one_bridge() -> None:
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def ensure(_: int) -> str:
        with inside(here):
            return bridge.ensure_bridge(BRIDGE, SUBNET)

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(ensure, range(12))) == {SUBNET}
    os.close(here)


@apart
def test_an_interface_left_over_from_a_kill_is_replaced() -> None:
    with namespaces(2) as (killed, fresh):
        first = bridge.attach(BRIDGE, SUBNET, ids(1)[0], killed)
        assert bridge.attach(BRIDGE, SUBNET, ids(1)[0], fresh) == first
        with inside(killed):
            assert links() == {"lo"}


@apart
def test_leftovers_are_removed_and_other_interfaces_kept() -> None:
    with namespaces(4) as fds:
        mine = [bridge.attach(BRIDGE, SUBNET, i, fd).peer for i, fd in zip(ids(3), fds, strict=False)]
        other = bridge.attach("pytt1", "10.232.0.0/24", ids(4)[3], fds[3]).peer
        assert set(bridge.sweep_orphans(BRIDGE, ids(1))) == set(mine[1:])
        assert links() >= {mine[0], other, BRIDGE, "pytt1"}
        assert bridge.sweep_orphans(BRIDGE, ids(1)) == ()
        bridge.remove_bridge(BRIDGE)
        assert links() == {"lo", other, "pytt1"}
        with inside(fds[0]):
            assert links() == {"lo"}


@apart
def test_interfaces_of_a_bridge_whose_name_hashes_alike_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "interface_prefix", lambda _: "ptabc")
    with namespaces(2) as (one, other):
        mine = bridge.attach(BRIDGE, SUBNET, ids(1)[0], one).peer
        bridge.attach("pytt1", "10.232.0.0/24", ids(2)[1], other)
        assert bridge.sweep_orphans(BRIDGE, ()) == (mine,)


@apart
def test_hardware_addresses_follow_from_addresses() -> None:
    """An address that is used again, or a bridge whose ports change, leaves no ARP cache wrong."""

    def hardware(name: str) -> str:
        from pyroute2 import IPRoute

        with IPRoute() as ip:
            return str(ip.link("get", ifname=name)[0].get_attr("IFLA_ADDRESS"))

    bridge.ensure_bridge(BRIDGE, SUBNET)
    assert hardware(BRIDGE) == "02:70:0a:e7:00:01"
    with namespaces(3) as fds:
        for container_id, fd in zip(ids(3), fds, strict=True):
            made = bridge.attach(BRIDGE, SUBNET, container_id, fd)
            with inside(fd):
                assert hardware("eth0") == made.mac
            last = int(made.address.partition("/")[0].rpartition(".")[2])
            assert made.mac == f"02:70:0a:e7:00:{last:02x}"
        assert hardware(BRIDGE) == "02:70:0a:e7:00:01"


@apart
def test_leftovers_are_found_without_their_bridge() -> None:
    from pyroute2 import IPRoute

    with namespaces(1) as (one,):
        peer = bridge.attach(BRIDGE, SUBNET, ids(1)[0], one).peer
        with IPRoute() as ip:
            ip.link("del", ifname=BRIDGE)
        assert bridge.sweep_orphans(BRIDGE, ()) == (peer,)


@apart
def test_the_interface_is_removed_with_its_namespace() -> None:
    with namespaces(1) as (one,):
        peer = bridge.attach(BRIDGE, SUBNET, ids(1)[0], one).peer
    wait_until(lambda: peer not in links(), 4, "the interface is gone")
    bridge.detach(BRIDGE, ids(1)[0])


@apart
def test_what_is_no_namespace_leaves_nothing() -> None:
    with open(os.devnull) as file, pytest.raises(PytopError):
        bridge.attach(BRIDGE, SUBNET, ids(1)[0], file.fileno())
    assert links() == {"lo", BRIDGE}


@apart
def test_an_interface_that_cannot_be_configured_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ConflictError("configure")

    monkeypatch.setattr(bridge, "_configure", fail)
    with namespaces(1) as (one,), pytest.raises(ConflictError, match="configure"):
        bridge.attach(BRIDGE, SUBNET, ids(1)[0], one)
    assert links() == {"lo", BRIDGE}


@apart
def test_it_works_in_a_forked_child() -> None:
    with namespaces(2) as (one, other):
        bridge.attach(BRIDGE, SUBNET, ids(1)[0], one)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                bridge.attach(BRIDGE, SUBNET, ids(2)[1], other)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        with inside(other):
            assert "eth0" in links()


def test_without_the_right_to_configure_networks() -> None:
    need_root("embedded")
    code = (
        "from runtime.engines.embedded.networks import bridge\n"
        "from runtime.engines.embedded.sandbox import capabilities\n"
        "from runtime.errors import PytopError\n"
        "from runtime.kernel import netlink\n"
        "assert netlink.unavailable() is None\ncapabilities.drop_to()\n"
        "print('CAP_NET_ADMIN' in netlink.unavailable())\n"
        "try:\n bridge.ensure_bridge('pytt-denied', '10.231.0.0/24')\n"
        "except PytopError as error:\n print(type(error).__name__, error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines()[0] == "True", done.stderr
    assert done.stdout.splitlines()[1].startswith(f"{DeniedError.__name__} needs root")
    assert "pytt-denied" not in links()
