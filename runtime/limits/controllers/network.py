"""Network rates of a container, by token buckets (tc's tbf) on the interfaces that lead out of it.

Received traffic is shaped at the host's end of the veth pair, sent traffic at the container's end, inside its network
namespace. Nothing else has to be created, and nothing is left when the container is gone. A container with
CAP_NET_ADMIN can remove its bucket; reading the limits then shows it. Source: tc-tbf(8), veth(4), rtnetlink(7);
docs/decisions/ says why not ifb.

A bucket replaces the interface's default queue, which the kernel restores afterwards. A queue that others have
configured is never replaced. Rates are in bits per second and apply to each interface separately.
"""

from __future__ import annotations

import errno
import os
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final

from runtime.errors import ConflictError, DeniedError, NotFoundError, PytopError
from runtime.kernel import netlink
from runtime.limits.controllers import interfaces
from runtime.limits.controllers.interfaces import End
from runtime.limits.step import Step
from runtime.model import UNLIMITED, LimitChange, LimitName, Missing, Unlimited

NETWORK_LIMITS: Final = (LimitName.NET_EGRESS, LimitName.NET_INGRESS)
QDISC_HANDLE: Final = 0x7079 << 16  # marks a bucket as ours
_TC_H_ROOT: Final = 0xFFFFFFFF
_BURST_S: Final = 0.01  # burst as time at the full rate: one tick of a 100 Hz kernel
_MIN_BURST_BYTES: Final = 16 * 1024  # larger segments are split to fit
_LATENCY_S: Final = 0.05  # packets that would wait longer are dropped
_LACKS: Final = "this kernel lacks the token bucket (modprobe sch_tbf)"
Rate = int | Unlimited


@dataclass(frozen=True, slots=True)
class Queue:
    """One direction, summed over the interfaces: rate in bits per second, counters, and the current backlog."""

    rate: Rate
    sent_bytes: int = 0
    sent_packets: int = 0
    drops: int = 0
    overlimits: int = 0
    backlog_bytes: int = 0
    _: KW_ONLY
    backlog_packets: int = 0


@dataclass(frozen=True, slots=True)
class Shaping:
    """Both directions as seen from the container; None when a direction is not shaped."""

    egress: Queue | None
    ingress: Queue | None


def achieved(before: Queue, after: Queue, seconds: float) -> float | None:
    """Bits per second between two readings; None when the bucket was replaced between them."""
    grown = after.sent_bytes - before.sent_bytes
    return grown * 8 / seconds if grown >= 0 and seconds > 0 else None


def asks_network(change: LimitChange) -> bool:
    """Whether a change contains a network limit. Reading those takes some milliseconds, so it is done only then."""
    return any(name in NETWORK_LIMITS for name, _ in change.items())


def why_not(pid: int, name: LimitName) -> str | None:
    """The reason why this direction of a container's traffic cannot be limited; None when it can."""
    try:
        with interfaces.namespace(pid) as fd:
            ends = interfaces.find(pid, fd)
    except PytopError as error:
        return error.detail or error.title
    if not ends.egress:
        return interfaces.NONE
    return ends.no_ingress or None if name is LimitName.NET_INGRESS else None


def read(pid: int | None) -> dict[LimitName, Rate | Missing]:
    """The rates for sending and receiving; the lowest one when the interfaces differ. Never raises."""
    shaped = shaping(pid) if pid is not None else Missing.UNSUPPORTED
    if isinstance(shaped, Missing):
        return dict.fromkeys(NETWORK_LIMITS, shaped)
    found: dict[LimitName, Rate | Missing] = {
        name: UNLIMITED if queue is None else queue.rate
        for name, queue in zip(NETWORK_LIMITS, (shaped.egress, shaped.ingress), strict=True)
    }
    if pid is not None and shaped.ingress is None and why_not(pid, LimitName.NET_INGRESS) is not None:
        found[LimitName.NET_INGRESS] = Missing.UNSUPPORTED
    return found


def shaping(pid: int) -> Shaping | Missing:
    """The buckets of a container with their counters; `Missing` when there can be none."""
    try:
        with interfaces.namespace(pid) as fd:
            ends = interfaces.find(pid, fd)
            if not ends.egress:
                return Missing.UNSUPPORTED
            return Shaping(_sum_buckets(ends.egress, fd), _sum_buckets(ends.ingress, fd))
    except DeniedError:
        return Missing.DENIED
    except NotFoundError:
        return Missing.GONE
    except PytopError as error:  # an interface may be removed between two requests
        return Missing.GONE if error.errno == errno.ENODEV else Missing.UNSUPPORTED


def steps(pid: int | None, change: LimitChange) -> list[Step]:
    """One step per interface and direction. Raises when there is no interface, or its queue is another program's."""
    wanted = [(name, value) for name, value in change.items() if name in NETWORK_LIMITS]
    if not wanted or pid is None:
        return []
    steps: list[Step] = []
    with interfaces.namespace(pid) as fd:
        ends, netns_inode = interfaces.find(pid, fd), os.fstat(fd).st_ino
        for name, value in wanted:
            for end in ends.egress if name is LimitName.NET_EGRESS else ends.ingress:
                current, replaceable = _current_rate(end, fd)
                rate = value if isinstance(value, int) else UNLIMITED
                if not replaceable:
                    _raise_foreign_queue(name, end)
                steps.append(_BucketWrite(name, pid, netns_inode, end, rate, current))
    return steps


@dataclass(frozen=True, slots=True)
class _BucketWrite:
    """Sets the bucket of one interface to `rate` or removes it; `before` is its rate now.

    `netns_inode` is the inode of the namespace: the pid may belong to another container by the time of the write.
    """

    name: LimitName
    pid: int
    netns_inode: int
    end: End
    rate: Rate
    before: Rate

    @property
    def title(self) -> str:
        return f"the queue of {self.end.name}"

    def require(self) -> None:
        reason = netlink.unavailable()
        if reason is not None:
            raise DeniedError(f"set {self.title}", detail=reason, hint="Run it with sudo")

    def current_value(self) -> Rate | Missing:
        try:
            with interfaces.namespace(self.pid, self.netns_inode) as fd:
                return _current_rate(self.end, fd)[0]
        except PytopError:
            return Missing.GONE

    def apply(self) -> None:
        self._set(self.rate)

    def revert(self) -> None:
        self._set(self.before)

    def _set(self, rate: Rate) -> None:
        with interfaces.namespace(self.pid, self.netns_inode) as fd, _socket(f"set {self.title}", self.end, fd) as ip:
            if isinstance(rate, Unlimited):
                with netlink.ignoring(errno.ENOENT):  # the interface has the kernel's default queue already
                    ip.tc("del", index=self.end.index, parent=_TC_H_ROOT)
                return
            size = rate // 8
            burst = max(_MIN_BURST_BYTES, int(size * _BURST_S))
            ip.tc(
                "replace",
                "tbf",
                self.end.index,
                QDISC_HANDLE,
                rate=f"{size * 8}bit",
                burst=burst,
                limit=burst + max(_MIN_BURST_BYTES, int(size * _LATENCY_S)),
            )


# -- reading the buckets


def _socket(what: str, end: End, fd: int) -> Any:
    return netlink.connect(what, fd if end.inner else None, lacks=_LACKS)


def _root(end: End, fd: int) -> Any | None:
    """The queue at the root of an interface; None when it has none, as a veth has by default."""
    with _socket(f"read the queue of {end.name}", end, fd) as ip:
        if all(link.get_attr("IFLA_QDISC") == "noqueue" for link in ip.link("get", index=end.index)):
            return None  # the kernel can only dump the queues of all interfaces
        for queue in ip.get_qdiscs(index=end.index):
            if queue["index"] == end.index and queue["parent"] == _TC_H_ROOT:
                return queue
    return None


def _bucket(queue: Any) -> int | None:
    """The rate of a token bucket in bits per second; None for any other queue."""
    if queue is None or queue.get_attr("TCA_KIND") != "tbf":
        return None
    options = queue.get_attr("TCA_OPTIONS")
    parameters = options.get_attr("TCA_TBF_PARMS") if options is not None else None
    return int(parameters["rate"]) * 8 if parameters is not None else None


def _current_rate(end: End, fd: int) -> tuple[Rate, bool]:
    """The rate of an end, and whether its queue may be replaced: one of this program or the kernel's default."""
    queue = _root(end, fd)
    rate = _bucket(queue)
    replaceable = queue is None or queue["handle"] == 0 or (queue["handle"] == QDISC_HANDLE and rate is not None)
    return (UNLIMITED if rate is None else rate), replaceable


def _raise_foreign_queue(name: LimitName, end: End) -> None:
    raise ConflictError(
        f"set {name.value.replace('_', ' ')}",
        detail=f"somebody else has configured the queue of {end.name}",
        hint=f"Look at it with: tc qdisc show dev {end.name}" + (" (inside the container)" if end.inner else ""),
    )


def _sum_buckets(ends: tuple[End, ...], fd: int) -> Queue | None:
    """The sum of the buckets; None when there is none."""
    total: Queue | None = None
    for end in ends:
        queue = _root(end, fd)
        rate = _bucket(queue)
        if queue is None or rate is None:
            continue
        counted = queue.get_attr("TCA_STATS2")
        passed = counted.get_attr("TCA_STATS_BASIC") or {}
        waits = counted.get_attr("TCA_STATS_QUEUE") or {}
        so_far = total or Queue(rate)
        total = Queue(
            rate=min(rate, so_far.rate) if isinstance(so_far.rate, int) else rate,
            sent_bytes=so_far.sent_bytes + int(passed.get("bytes", 0)),
            sent_packets=so_far.sent_packets + int(passed.get("packets", 0)),
            drops=so_far.drops + int(waits.get("drops", 0)),
            overlimits=so_far.overlimits + int(waits.get("overlimits", 0)),
            backlog_bytes=so_far.backlog_bytes + int(waits.get("backlog", 0)),
            backlog_packets=so_far.backlog_packets + int(waits.get("qlen", 0)),
        )
    return total
