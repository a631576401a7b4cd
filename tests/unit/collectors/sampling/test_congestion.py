"""Retransmits and backlog: of busy networks only, each once a sweep, and what is missing says why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.sampling import congestion
from collectors.sampling.congestion import (
    BUSY_BYTES_PER_S,
    BUSY_S,
    MAX_NETWORKS,
    NOT_BUSY,
    Congestion,
    CongestionReader,
    retransmitted,
)
from collectors.sampling.sample import NetCounters
from collectors.sampling.sweep import Sweeper
from collectors.sampling.target import Target
from runtime.errors import DeniedError, KernelError
from runtime.kernel import qdisc
from runtime.kernel.cgroupfs import Mode
from runtime.model import ContainerRef, Missing
from tests.unit.collectors.sampling.test_sweep_trees import PID, Tree

S_NS = 1_000_000_000
SNMP = (
    "Ip: Forwarding DefaultTTL\nIp: 1 64\n"
    "Tcp: RtoAlgorithm ActiveOpens InSegs OutSegs RetransSegs InErrs\nTcp: 1 22 33 44 {} 55\nUdp: InDatagrams\nUdp: 9\n"
)


def carried(count: int) -> dict[str, NetCounters]:
    return {"eth0": NetCounters(tx_bytes=count), "docker0": NetCounters(rx_bytes=9 * count, external=False)}


class Network:
    """A /proc with one process whose namespace can be opened, and its figures."""

    def __init__(self, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proc = proc
        self.asked: list[int] = []
        self.error: Exception | None = None
        self.inode = self.add(PID)
        self.segments(5)
        monkeypatch.setattr(qdisc, "backlogs", self.backlogs)

    def add(self, pid: int) -> int:
        (self.proc / f"{pid}/ns").mkdir(parents=True)
        (self.proc / f"{pid}/net").mkdir()
        (self.proc / f"{pid}/ns/net").write_text("")
        return os.stat(self.proc / f"{pid}/ns/net").st_ino

    def segments(self, count: object, pid: int = PID) -> None:
        (self.proc / f"{pid}/net/snmp").write_text(SNMP.format(count))

    def backlogs(self, fd: int) -> dict[int, int]:
        self.asked.append(os.fstat(fd).st_ino)
        if self.error is not None:
            raise self.error
        return {2: 700, 3: 50}


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(tmp_path, monkeypatch)


def busy(reader: CongestionReader, network: Network) -> Congestion:
    """What is read when the network has just become busy."""
    reader.begin(S_NS)
    assert reader.read(PID, network.inode, carried(0)) is NOT_BUSY
    reader.begin(2 * S_NS)
    return reader.read(PID, network.inode, carried(BUSY_BYTES_PER_S))


def test_only_a_busy_network_is_read_and_for_a_while_after_it_was(network: Network) -> None:
    reader = CongestionReader(network.proc)
    for second in range(1, 5):
        reader.begin(second * S_NS)
        quiet = (BUSY_BYTES_PER_S - 1) * second
        assert reader.read(PID, network.inode, carried(quiet)) is NOT_BUSY, "what others carry does not count"
    assert network.asked == []
    last = quiet + BUSY_BYTES_PER_S
    for second in range(5, 5 + round(BUSY_S)):
        reader.begin(second * S_NS)
        assert reader.read(PID, network.inode, carried(last)) == Congestion(5, 750)
    reader.begin((5 + round(BUSY_S)) * S_NS)
    assert reader.read(PID, network.inode, carried(last)) is NOT_BUSY


def test_it_is_read_once_a_sweep_whoever_shares_the_namespace(network: Network) -> None:
    reader = CongestionReader(network.proc)
    found = busy(reader, network)
    assert reader.read(PID + 1, network.inode, carried(9 * BUSY_BYTES_PER_S)) is found
    assert network.asked == [network.inode]


def test_so_many_at_once_and_another_one_when_one_of_them_rests(network: Network) -> None:
    reader = CongestionReader(network.proc)
    pids = range(1, MAX_NETWORKS + 2)
    inodes = {pid: network.add(pid) for pid in pids}
    for pid in pids:
        network.segments(1, pid)

    def sweep(second: int, resting: int = 0) -> list[int]:
        reader.begin(second * S_NS)
        count = BUSY_BYTES_PER_S * second
        return [
            pid
            for pid in pids
            if reader.read(pid, inodes[pid], carried(0 if pid == resting else count)) is not NOT_BUSY
        ]

    assert sweep(1) == []
    assert sweep(2) == sweep(3) == list(pids)[:-1], "the same ones, so that there is a rate"
    assert sweep(3 + round(BUSY_S), resting=2)[-1] == MAX_NETWORKS + 1
    reader.keep_only(frozenset(inodes[pid] for pid in pids if pid != 1))
    reader.begin(100 * S_NS)
    assert reader.read(1, inodes[1], carried(10**12)) is NOT_BUSY, "a namespace with the inode of one that is gone"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DeniedError("read the queues"), Missing.DENIED),
        (KernelError("read the queues"), Missing.UNSUPPORTED),
        (PermissionError(), Missing.DENIED),
        (TimeoutError(), Missing.UNSUPPORTED),
    ],
)
def test_queues_that_cannot_be_read_say_why(network: Network, error: Exception, reason: Missing) -> None:
    network.error = error
    assert busy(CongestionReader(network.proc), network) == Congestion(5, reason)


def test_a_process_that_has_ended(network: Network) -> None:
    (network.proc / str(PID) / "net/snmp").unlink()
    (network.proc / str(PID) / "ns/net").unlink()
    reader = CongestionReader(network.proc)
    assert busy(reader, network) == Congestion(Missing.UNSUPPORTED, Missing.UNSUPPORTED)
    reader.begin(3 * S_NS)
    assert reader.read(PID, network.inode, Missing.GONE) is NOT_BUSY


def test_a_namespace_that_is_another_one_by_now(network: Network) -> None:
    reader = CongestionReader(network.proc)
    for second in (1, 2):
        reader.begin(second * S_NS)
        found = reader.read(PID, 77, carried(second * BUSY_BYTES_PER_S))
    assert found == Congestion(5, Missing.GONE)
    assert network.asked == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Tcp: RetransSegs\n",
        "Ip: x\nTcp: RetransSegs\n",
        SNMP.format("x"),
        SNMP.format(-1),
        SNMP.format(7).replace("RetransSegs", "Other"),
        "Ip: 1\nTcp: a RetransSegs\nTcp: 1\n",
    ],
)
def test_what_is_no_count_of_segments(text: str) -> None:
    assert retransmitted(text.encode()) is Missing.UNSUPPORTED


def test_the_count_of_segments_wherever_its_column_is() -> None:
    assert retransmitted(SNMP.format(7).encode()) == 7
    assert retransmitted(b"Ip: 1\nTcp: RetransSegs a\nTcp: 8 1\n") == 8
    assert isinstance(retransmitted(Path("/proc/self/net/snmp").read_bytes()), int)


@given(data=st.binary(max_size=200))
def test_whatever_the_file_holds_nothing_raises(data: bytes) -> None:
    assert isinstance(retransmitted(b"Ip: 1\nTcp: RetransSegs\nTcp: " + data), (int, Missing))


def test_a_usage_has_them_while_the_network_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(congestion, "BUSY_BYTES_PER_S", 1)
    monkeypatch.setattr(CongestionReader, "_backlog", lambda *_: 4096)
    tree = Tree(tmp_path, Mode.V2)
    snmp = tree.proc / str(PID) / "net/snmp"
    sweeper = Sweeper(tree.hierarchies, tree.proc)
    target = Target(ContainerRef("tree", "0" * 12), PID)

    def sweep(traffic: int, segments: int) -> tuple[object, object, int]:
        tree.traffic(traffic, traffic)
        snmp.write_text(SNMP.format(segments))
        usage = sweeper.sweep([target]).usages[target.ref]
        return usage.retransmits, usage.backlog, usage.at_ns

    try:
        gap = Missing.NOT_SAMPLED
        assert sweep(1_000, 0)[:2] == (gap, gap)
        assert sweep(10**8, 10)[:2] == (gap, 4096), "a rate needs two readings"
        rate, backlog, _ = sweep(2 * 10**8, 30)
        assert isinstance(rate, float)
        assert rate > 0
        assert backlog == 4096
        assert sweep(2 * 10**8, 90)[:2] == (gap, gap), "it stands still"
    finally:
        sweeper.close()
