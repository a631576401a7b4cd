"""Token buckets by a scripted netlink: which ends are found, what is read of them, and what is asked for.

The real kernel answers in tests/integration/test_net_limits_real.py; this needs no root.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from runtime.errors import ConflictError, DeniedError, NotFoundError, UnsupportedError
from runtime.kernel import netlink
from runtime.limits.controllers import interfaces, network
from runtime.limits.controllers.interfaces import End, Ends
from runtime.limits.controllers.network import Queue, Shaping
from runtime.model import UNLIMITED, LimitChange, LimitName, Missing

ROOT = 0xFFFFFFFF
OURS = 0x70790000
NSID = 7


class Message(dict[str, Any]):
    """A message with attributes, as pyroute2 gives it."""

    def __init__(self, attributes: dict[str, Any] | None = None, **fields: Any) -> None:
        super().__init__(fields)
        self._attributes = attributes or {}

    def get_attr(self, name: str) -> Any:
        return self._attributes.get(name)


def link(
    index: int, name: str, *, kind: str = "veth", other: int = 0, qdisc: str = "tbf", nsid: int | None = None
) -> Message:
    about = Message({"IFLA_INFO_KIND": kind}) if kind else None
    attributes = {"IFLA_IFNAME": name, "IFLA_LINK": other, "IFLA_QDISC": qdisc, "IFLA_LINKINFO": about}
    if nsid is not None:
        attributes["IFLA_LINK_NETNSID"] = nsid
    return Message(attributes, index=index)


def bucket(index: int, rate: int, number: int, *, handle: int = OURS, kind: str = "tbf", parent: int = ROOT) -> Message:
    stats = Message(
        {
            "TCA_STATS_BASIC": {"bytes": number, "packets": number + 1},
            "TCA_STATS_QUEUE": {
                **{"drops": number + 2, "overlimits": number + 3, "backlog": number + 4, "qlen": number + 5}
            },
        }
    )
    options = Message({"TCA_TBF_PARMS": {"rate": rate}})
    return Message(
        {"TCA_KIND": kind, "TCA_OPTIONS": options, "TCA_STATS2": stats}, index=index, parent=parent, handle=handle
    )


@dataclass
class Namespace:
    """One network namespace: its links by index, its queues, and what is asked of it."""

    links: dict[int, Message] = field(default_factory=dict)
    queues: list[Message] = field(default_factory=list)
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def link(self, verb: str, index: int) -> list[Message]:
        assert verb == "get"
        if index not in self.links:
            raise NetlinkError(errno.ENODEV)
        return [self.links[index]]

    def get_qdiscs(self, index: int) -> list[Message]:
        return self.queues

    def get_netnsid(self, fd: int) -> dict[str, int]:
        assert fd >= 0
        return {"nsid": NSID}

    def tc(self, *words: Any, **named: Any) -> None:
        self.asked.append((*words, named))


@dataclass
class Machine:
    """The container's namespace and this program's."""

    inner: Namespace = field(default_factory=Namespace)
    outer: Namespace = field(default_factory=Namespace)
    external: list[Message] = field(default_factory=list)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()

    @contextmanager
    def connect(what: str, fd: int | None = None, **_: Any) -> Iterator[Namespace]:
        assert isinstance(what, str)
        yield made.outer if fd is None else made.inner

    @contextmanager
    def namespace(pid: int, expected: int | None = None) -> Iterator[int]:
        if pid == 404:
            raise NotFoundError("look at the network", detail="it has ended")
        if pid == 403:
            raise DeniedError("look at the network")
        if pid == 1:
            raise UnsupportedError("look at the network", detail="it uses the host's own network")
        assert pid == 42
        fd = os.open(os.devnull, os.O_RDONLY)
        try:
            yield fd
        finally:
            os.close(fd)

    monkeypatch.setattr(netlink, "connect", connect)
    monkeypatch.setattr(netlink, "unavailable", lambda: None)
    monkeypatch.setattr(interfaces, "namespace", namespace)
    monkeypatch.setattr(interfaces.external_links, "of_namespace", lambda ip: made.external)
    return made


def with_pair(machine: Machine, number: int = 1) -> None:
    """A veth pair: index 2n inside, 100 + 2n outside."""
    inner = link(2 * number, f"eth{number}", other=100 + 2 * number)
    machine.external.append(inner)
    machine.inner.links[2 * number] = inner
    machine.outer.links[100 + 2 * number] = link(100 + 2 * number, f"veth{number}", other=2 * number, nsid=NSID)


def test_the_ends_of_a_pair(machine: Machine) -> None:
    with_pair(machine)
    with interfaces.namespace(42) as fd:
        found = interfaces.find(42, fd)
    assert found == Ends((End(2, "eth1", True),), (End(102, "veth1", False),), "")
    assert network.why_not(42, LimitName.NET_EGRESS) is network.why_not(42, LimitName.NET_INGRESS) is None


@pytest.mark.parametrize(
    "other",
    [
        None,
        link(102, "x", kind="bridge", other=2, nsid=NSID),
        link(102, "x", other=3, nsid=NSID),
        link(102, "x", other=2, nsid=8),
    ],
    ids=["gone", "no veth", "of another pair", "of another namespace"],
)
def test_an_end_that_is_elsewhere(machine: Machine, other: Message | None) -> None:
    with_pair(machine)
    del machine.outer.links[102]
    if other is not None:
        machine.outer.links[102] = other
    reason = "the other end of its interface is in another network namespace than this program's"
    assert network.why_not(42, LimitName.NET_INGRESS) == reason
    assert network.why_not(42, LimitName.NET_EGRESS) is None


def test_interfaces_that_are_no_pairs(machine: Machine) -> None:
    with_pair(machine)
    machine.external += [link(8, "mac", kind="macvlan"), link(9, "real", kind="")]
    reason = "its interface is a real interface, macvlan, which has no end on the host to shape what it receives"
    assert network.why_not(42, LimitName.NET_INGRESS) == reason


def test_no_interface_at_all(machine: Machine) -> None:
    assert network.why_not(42, LimitName.NET_EGRESS) == network.why_not(42, LimitName.NET_INGRESS) == interfaces.NONE
    assert network.shaping(42) is Missing.UNSUPPORTED


@pytest.mark.parametrize(
    ("pid", "why", "missing"),
    [
        (404, "it has ended", Missing.GONE),
        (403, "look at the network", Missing.DENIED),
        (1, "it uses the host's own network", Missing.UNSUPPORTED),
    ],
)
def test_a_namespace_that_cannot_be_looked_at(machine: Machine, pid: int, why: str, missing: Missing) -> None:
    assert network.why_not(pid, LimitName.NET_EGRESS) == why
    assert network.shaping(pid) is missing
    assert network.read(pid) == dict.fromkeys(network.NETWORK_LIMITS, missing)


def test_buckets_and_their_counters(machine: Machine) -> None:
    with_pair(machine, 1)
    with_pair(machine, 2)
    machine.inner.queues = [
        bucket(2, 1_000_000, 100, parent=1),
        bucket(3, 1_000_000, 100),
        bucket(2, 2_000_000, 100),
        bucket(4, 1_500_000, 1000),
    ]
    machine.outer.queues = [bucket(102, 500_000, 7)]
    machine.outer.links[104]._attributes["IFLA_QDISC"] = "noqueue"
    shaped = network.shaping(42)
    assert shaped == Shaping(
        Queue(12_000_000, 1100, 1102, 1104, 1106, 1108, backlog_packets=1110),
        Queue(4_000_000, 7, 8, 9, 10, 11, backlog_packets=12),
    )
    assert network.read(42) == {LimitName.NET_EGRESS: 12_000_000, LimitName.NET_INGRESS: 4_000_000}
    machine.inner.queues[-1]._attributes["TCA_STATS2"] = Message()
    assert network.shaping(42) == Shaping(
        Queue(12_000_000, 100, 101, 102, 103, 104, backlog_packets=105),
        Queue(4_000_000, 7, 8, 9, 10, 11, backlog_packets=12),
    )


def test_without_a_bucket_nothing_is_limited(machine: Machine) -> None:
    with_pair(machine)
    machine.inner.queues = [bucket(2, 1, 1, kind="fq_codel")]
    assert network.shaping(42) == Shaping(None, None)
    assert network.read(42) == dict.fromkeys(network.NETWORK_LIMITS, UNLIMITED)
    assert network.read(None) == dict.fromkeys(network.NETWORK_LIMITS, Missing.UNSUPPORTED)
    machine.outer.links.clear()
    assert network.read(42) == {LimitName.NET_EGRESS: UNLIMITED, LimitName.NET_INGRESS: Missing.UNSUPPORTED}


def test_what_is_asked_of_the_kernel(machine: Machine) -> None:
    with_pair(machine)
    machine.inner.queues = [bucket(2, 250_000, 1)]
    sent, received = network.steps(42, LimitChange(net_egress=8_000_000, net_ingress=800_000_000))
    sent.require()
    assert (sent.title, received.title) == ("the queue of eth1", "the queue of veth1")
    assert (sent.current_value(), received.current_value()) == (2_000_000, UNLIMITED)
    sent.apply()
    sent.revert()
    assert machine.inner.asked == [
        ("replace", "tbf", 2, OURS, {"rate": "8000000bit", "burst": 16_384, "limit": 16_384 + 50_000}),
        ("replace", "tbf", 2, OURS, {"rate": "2000000bit", "burst": 16_384, "limit": 16_384 + 16_384}),
    ]
    received.apply()
    received.revert()
    assert machine.outer.asked == [
        ("replace", "tbf", 102, OURS, {"rate": "800000000bit", "burst": 1_000_000, "limit": 6_000_000}),
        ("del", {"index": 102, "parent": ROOT}),
    ]
    assert network.steps(None, LimitChange(net_egress=8000)) == []
    assert network.steps(42, LimitChange(pids=1)) == []


@pytest.mark.parametrize(
    ("queue", "foreign"),
    [
        (bucket(2, 1, 1, handle=0, kind="fq_codel"), False),
        (bucket(2, 1, 1, handle=OURS), False),
        (bucket(2, 1, 1, handle=OURS, kind="htb"), True),
        (bucket(2, 1, 1, handle=0x10000), True),
    ],
)
def test_a_queue_of_somebody_else_is_left_alone(machine: Machine, queue: Message, foreign: bool) -> None:
    with_pair(machine)
    machine.inner.queues = [queue]
    change = LimitChange(net_egress=8_000_000)
    if not foreign:
        assert len(network.steps(42, change)) == 1
        return
    with pytest.raises(ConflictError) as caught:
        network.steps(42, change)
    error = caught.value
    assert (error.title, error.detail) == ("set net egress", "somebody else has configured the queue of eth1")
    assert error.hint == "Look at it with: tc qdisc show dev eth1 (inside the container)"
