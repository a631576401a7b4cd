# ruff: noqa: ASYNC221, ASYNC240  (nothing else is going on)
"""Network rates of real containers, measured by real traffic in both directions."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.errors import ConflictError, UnsupportedError
from runtime.kernel import netlink
from runtime.limits.controllers import network
from runtime.model import UNLIMITED, ContainerRef, ContainerSpec, LimitChange, LimitName, Missing, Verdict
from tests.conftest import missing, need_root
from tests.integration.embedded import instance
from tests.waiting import wait_until

MBIT = 1_000_000
SEND, TAKE = 7001, 7002
SERVER = f"""
import socket, threading
def serve(port, send):
    s = socket.create_server(("", port))
    while True:
        c, _ = s.accept()
        try:
            while c.send(b"x" * 65536) if send else c.recv(65536):
                pass
        except OSError:
            pass
        c.close()
threading.Thread(target=serve, args=({SEND}, True)).start()
serve({TAKE}, False)
"""


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    async with instance(tmp_path) as made:
        yield made


async def serve(engine: EmbeddedEngine, **more: LimitChange) -> ContainerRef:
    ref = await engine.create(ContainerSpec("host", ("/usr/bin/python3", "-c", SERVER), **more))  # type: ignore[arg-type]
    await engine.start(ref.id)
    return ref


async def pid(engine: EmbeddedEngine, ref: ContainerRef) -> int:
    found = (await engine.get(ref.id)).pid
    assert found is not None
    return found


def connect(address: str, port: int) -> socket.socket:
    made: list[socket.socket] = []

    def connected() -> bool:
        with suppress(ConnectionRefusedError):
            made.append(socket.create_connection((address, port), timeout=5))
        return bool(made)

    wait_until(connected, 15, "the container listens")
    return made[0]


def received(address: str, seconds: float) -> float:
    """Mbit per second that the container sends."""
    total, begun = 0, 0.0
    with connect(address, SEND) as link:
        warm = time.monotonic() + 0.3  # the bucket's first burst, and what was in the buffers
        while (now := time.monotonic()) < warm + seconds:
            size = len(link.recv(65536))
            if now >= warm:
                begun = begun or now
                total += size
        return total * 8 / (time.monotonic() - begun) / MBIT


def sent(pid: int, address: str, seconds: float) -> float:
    """Mbit per second that the container receives, by its own interface's counter."""

    def counted() -> int:
        for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines():
            if "eth0" in line:
                return int(line.partition(":")[2].split()[0])
        raise AssertionError("no eth0")

    with connect(address, TAKE) as link:
        link.settimeout(0.05)
        start = end = time.monotonic()
        before = 0
        while end < start + 0.3 + seconds:
            with suppress(TimeoutError):
                link.send(b"x" * 65536)
            end = time.monotonic()
            if not before and end > start + 0.3:
                before, since = counted(), end
        return (counted() - before) * 8 / (time.monotonic() - since) / MBIT


async def test_both_directions_are_limited_changed_and_lifted(engine: EmbeddedEngine) -> None:
    ref = await serve(engine)
    address, inside = (await engine.get(ref.id)).addresses[0], await pid(engine, ref)
    outcome = await engine.update(ref.id, LimitChange(net_egress=20 * MBIT, net_ingress=30 * MBIT + 1))
    assert [(f.verdict, f.kernel, f.persistent) for f in outcome.fields] == [
        (Verdict.APPLIED, 20 * MBIT, True),
        (Verdict.ROUNDED, 30 * MBIT, True),
    ]
    assert 10 < await asyncio.to_thread(received, address, 1.0) < 22
    before = await asyncio.to_thread(network.shaping, inside)
    begun = time.monotonic()
    assert 15 < await asyncio.to_thread(sent, inside, address, 1.0) < 33
    after = await asyncio.to_thread(network.shaping, inside)
    assert isinstance(before, network.Shaping)
    assert isinstance(after, network.Shaping)
    assert after.ingress is not None
    assert before.ingress is not None
    rate = network.achieved(before.ingress, after.ingress, time.monotonic() - begun)
    assert rate is not None
    assert 5 * MBIT < rate < 35 * MBIT
    assert after.ingress.overlimits > before.ingress.overlimits
    assert (await engine.update(ref.id, LimitChange(net_egress=4 * MBIT))).ok
    assert 2 < await asyncio.to_thread(received, address, 1.0) < 5
    outcome = await engine.update(ref.id, LimitChange(net_egress=UNLIMITED, net_ingress=UNLIMITED))
    assert outcome.ok, outcome
    assert await asyncio.to_thread(received, address, 0.3) > 60
    assert await asyncio.to_thread(network.shaping, inside) == network.Shaping(None, None)


async def test_network_limits_are_restored_by_a_restart(engine: EmbeddedEngine) -> None:
    ref = await serve(engine, limits=LimitChange(net_ingress=8 * MBIT))
    inside = await pid(engine, ref)
    held = await asyncio.to_thread(network.read, inside)
    assert held == {LimitName.NET_EGRESS: UNLIMITED, LimitName.NET_INGRESS: 8 * MBIT}
    assert (await engine.update(ref.id, LimitChange(net_egress=6 * MBIT))).ok
    await engine.restart(ref.id, timeout=0)
    held = await asyncio.to_thread(network.read, await pid(engine, ref))
    assert held == {LimitName.NET_EGRESS: 6 * MBIT, LimitName.NET_INGRESS: 8 * MBIT}
    recorded = await engine.recorded(ref.id)
    assert (recorded.net_egress, recorded.net_ingress) == (6 * MBIT, 8 * MBIT)


async def test_what_waits_and_what_is_dropped_is_counted(engine: EmbeddedEngine) -> None:
    ref = await serve(engine, limits=LimitChange(net_ingress=1 * MBIT))
    address, inside = (await engine.get(ref.id)).addresses[0], await pid(engine, ref)

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(400):
                sender.sendto(b"x" * 1400, (address, 9))

    await asyncio.to_thread(flood)
    shaped = await asyncio.to_thread(network.shaping, inside)
    assert isinstance(shaped, network.Shaping)
    assert shaped.ingress is not None
    assert shaped.egress is None
    assert shaped.ingress.drops > 0
    assert shaped.ingress.backlog_bytes > 0


async def test_another_programs_queue_is_kept(engine: EmbeddedEngine) -> None:
    ref = await serve(engine)
    inside = await pid(engine, ref)
    tc = ["nsenter", f"--net=/proc/{inside}/ns/net", "tc", "qdisc"]
    made = [
        *tc,
        "add",
        "dev",
        "eth0",
        "root",
        "handle",
        "9:",
        "tbf",
        "rate",
        "7mbit",
        "burst",
        "16k",
        "latency",
        "50ms",
    ]
    if subprocess.run(made, capture_output=True, check=False).returncode:
        missing("embedded", "tc cannot make a token bucket here")
    with pytest.raises(ConflictError, match="somebody else"):
        await engine.update(ref.id, LimitChange(net_egress=20 * MBIT))
    assert (await asyncio.to_thread(network.read, inside))[LimitName.NET_EGRESS] == 7 * MBIT
    assert "7Mbit" in subprocess.run([*tc, "show"], capture_output=True, text=True, check=True).stdout


async def test_a_failed_direction_reverts_the_other(engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = await serve(engine)
    inside = await pid(engine, ref)
    real = network._BucketWrite._set

    def broken(self: network._BucketWrite, rate: network.Rate) -> None:
        if not self.end.inner:
            raise ConflictError("set it", detail="broken on purpose")
        real(self, rate)

    monkeypatch.setattr(network._BucketWrite, "_set", broken)
    outcome = await engine.update(ref.id, LimitChange(net_egress=20 * MBIT, net_ingress=30 * MBIT))
    assert [f.verdict for f in outcome.fields] == [Verdict.ROLLED_BACK, Verdict.FAILED]
    assert (await asyncio.to_thread(network.read, inside))[LimitName.NET_EGRESS] is UNLIMITED


async def test_a_container_without_its_own_network(engine: EmbeddedEngine) -> None:
    ref = await engine.create(ContainerSpec("host", ("sleep", "60"), network="none"))
    await engine.start(ref.id)
    with pytest.raises(UnsupportedError, match="no network"):
        await engine.update(ref.id, LimitChange(net_egress=MBIT))
    held = await asyncio.to_thread(network.read, os.getpid())
    assert set(held.values()) == {Missing.UNSUPPORTED}
    assert "host's own network" in (await asyncio.to_thread(network.why_not, os.getpid(), LimitName.NET_EGRESS) or "")
    assert set((await asyncio.to_thread(network.read, 2**22 - 1)).values()) == {Missing.GONE}


async def test_an_interface_without_an_end_here_can_only_be_limited_in_what_it_sends(engine: EmbeddedEngine) -> None:
    """A pair whose other end was moved away, as that of a daemon in a namespace of its own."""
    ref = await serve(engine)
    inside = await pid(engine, ref)
    peer = next(
        path.name
        for path in Path("/sys/class/net").iterdir()
        if (path / "master").exists() and (path / "master").resolve().name == engine.config.bridge
    )
    space = f"pytopn{inside}"
    subprocess.run(["ip", "netns", "add", space], check=True, timeout=10)
    try:
        subprocess.run(["ip", "link", "set", peer, "netns", space], check=True, timeout=10)
        held = await asyncio.to_thread(network.read, inside)
        assert held == {LimitName.NET_EGRESS: UNLIMITED, LimitName.NET_INGRESS: Missing.UNSUPPORTED}
        with pytest.raises(UnsupportedError, match="another network namespace"):
            await engine.update(ref.id, LimitChange(net_ingress=MBIT))
        assert (await engine.update(ref.id, LimitChange(net_egress=MBIT))).ok
    finally:
        subprocess.run(["ip", "netns", "delete", space], check=True, timeout=10)


class Spaces:
    """Network namespaces, each that of a process which sleeps."""

    def __init__(self) -> None:
        self._held: list[subprocess.Popen[bytes]] = []

    def add(self) -> int:
        """A new one; the process that is in it."""
        process = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        self._held.append(process)
        here = os.stat("/proc/self/ns/net").st_ino
        wait_until(lambda: os.stat(f"/proc/{process.pid}/ns/net").st_ino != here, 5, "there is a new namespace")
        return process.pid

    def close(self) -> None:
        for process in self._held:
            process.kill()
            process.wait()


def link(space: int, *words: str) -> str:
    """`ip link` in a namespace."""
    command = ["nsenter", f"--net=/proc/{space}/ns/net", "ip", "-json", "link", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout


def pair(here: int, name: str, there: int, other: str) -> None:
    link(here, "add", name, "type", "veth", "peer", "name", other, "netns", str(there))


def fill(space: int, nested: int) -> None:
    """What a daemon inside makes: a bridge with a container of its own on it, and a pair that does not leave at all."""
    link(space, "add", "docker0", "type", "bridge")
    pair(space, "inner0", nested, "eth0")
    link(space, "set", "inner0", "master", "docker0")
    pair(space, "here0", space, "here1")


def shaped(space: int) -> set[str]:
    return {entry["ifname"] for entry in json.loads(link(space, "show")) if entry["qdisc"] == "tbf"}


def limit(space: int, change: LimitChange) -> None:
    for step in network.steps(space, change):
        step.apply()


@pytest.fixture
def spaces() -> Iterator[Spaces]:
    """Namespaces of a test's own; the first of them stands for the host's, and the test is in it."""
    need_root("embedded")
    made = Spaces()
    try:
        host = os.open(f"/proc/{made.add()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with netlink.in_namespace(host):
                yield made
        finally:
            os.close(host)
    finally:
        made.close()


@pytest.fixture
def host(spaces: Spaces) -> int:
    return spaces._held[0].pid


def test_a_containers_internal_interfaces_are_not_limited(spaces: Spaces, host: int) -> None:
    outer, nested = spaces.add(), spaces.add()
    pair(host, "out0", outer, "eth0")
    fill(outer, nested)
    assert network.why_not(outer, LimitName.NET_INGRESS) is None
    limit(outer, LimitChange(net_egress=20 * MBIT, net_ingress=30 * MBIT))
    assert network.read(outer) == {LimitName.NET_EGRESS: 20 * MBIT, LimitName.NET_INGRESS: 30 * MBIT}
    assert (shaped(host), shaped(outer), shaped(nested)) == ({"out0"}, {"eth0"}, set())


def test_interfaces_added_inside_later_change_nothing(spaces: Spaces, host: int) -> None:
    outer, nested = spaces.add(), spaces.add()
    pair(host, "out0", outer, "eth0")
    limit(outer, LimitChange(net_egress=20 * MBIT, net_ingress=30 * MBIT))
    fill(outer, nested)
    assert network.read(outer) == {LimitName.NET_EGRESS: 20 * MBIT, LimitName.NET_INGRESS: 30 * MBIT}
    limit(outer, LimitChange(net_egress=5 * MBIT, net_ingress=6 * MBIT))
    assert network.read(outer) == {LimitName.NET_EGRESS: 5 * MBIT, LimitName.NET_INGRESS: 6 * MBIT}
    assert (shaped(host), shaped(outer), shaped(nested)) == ({"out0"}, {"eth0"}, set())
    limit(outer, LimitChange(net_egress=UNLIMITED, net_ingress=UNLIMITED))
    assert network.shaping(outer) == network.Shaping(None, None)
    assert (shaped(host), shaped(outer), shaped(nested)) == (set(), set(), set())


def test_a_macvlan_leads_out_when_what_is_below_it_is_outside(spaces: Spaces, host: int) -> None:
    outer, nested = spaces.add(), spaces.add()
    pair(host, "below0", host, "below1")
    try:
        link(host, "add", "link", "below0", "name", "mv0", "type", "macvlan")
    except subprocess.CalledProcessError:
        missing("macvlan", "this kernel has none")
    link(host, "set", "mv0", "netns", str(outer))
    fill(outer, nested)
    link(outer, "add", "link", "here0", "name", "mv1", "type", "macvlan")
    assert "macvlan" in (network.why_not(outer, LimitName.NET_INGRESS) or "")
    limit(outer, LimitChange(net_egress=20 * MBIT, net_ingress=30 * MBIT))
    assert network.read(outer) == {LimitName.NET_EGRESS: 20 * MBIT, LimitName.NET_INGRESS: Missing.UNSUPPORTED}
    assert (shaped(host), shaped(outer), shaped(nested)) == (set(), {"mv0"}, set())


def test_a_pair_to_a_daemon_elsewhere_leads_out_and_one_on_a_bridge_does_not(spaces: Spaces) -> None:
    daemon, outer, nested = spaces.add(), spaces.add(), spaces.add()
    pair(daemon, "out0", outer, "eth0")
    fill(outer, nested)
    assert "another network namespace" in (network.why_not(outer, LimitName.NET_INGRESS) or "")
    limit(outer, LimitChange(net_egress=20 * MBIT, net_ingress=30 * MBIT))
    assert network.read(outer) == {LimitName.NET_EGRESS: 20 * MBIT, LimitName.NET_INGRESS: Missing.UNSUPPORTED}
    assert (shaped(daemon), shaped(outer), shaped(nested)) == (set(), {"eth0"}, set())


def test_a_tun_device_is_external_when_nothing_else_is(spaces: Spaces) -> None:
    """As in a rootless container."""
    outer, nested = spaces.add(), spaces.add()
    fill(outer, nested)
    assert "leads out" in (network.why_not(outer, LimitName.NET_EGRESS) or "")
    assert set(network.read(outer).values()) == {Missing.UNSUPPORTED}
    made = ["nsenter", f"--net=/proc/{outer}/ns/net", "ip", "tuntap", "add", "dev", "tap0", "mode", "tap"]
    if subprocess.run(made, capture_output=True, check=False, timeout=10).returncode:
        missing("tun", "this kernel has none")
    limit(outer, LimitChange(net_egress=20 * MBIT))
    assert network.read(outer) == {LimitName.NET_EGRESS: 20 * MBIT, LimitName.NET_INGRESS: Missing.UNSUPPORTED}
    assert (shaped(outer), shaped(nested)) == ({"tap0"}, set())
