"""What is leased, for how long yet, and whose it is, in words."""

from __future__ import annotations

from typing import Any

from runtime.containment.lease import Holder, Lease, LeaseState
from runtime.model import UNLIMITED, ContainerRef, LimitChange
from tui.present import lease_text

NOW_NS = 1_000_000_000_000
S = 1_000_000_000


def lease(**more: Any) -> Lease:
    known: dict[str, Any] = {
        "id": "0a",
        "ref": ContainerRef("fake", "hog"),
        "name": "hog",
        "target": "container",
        "boot": "b",
        "change": LimitChange(cpu_idle=True, cpus=0.4),
        "before": LimitChange(cpu_idle=False, cpus=UNLIMITED),
        "created_ns": NOW_NS,
        "expires_ns": NOW_NS + 47 * S,
        "holder": Holder(pid=7, started=1, uid=0),
    }
    return Lease(**(known | more))


def test_a_lease_of_this_dashboard() -> None:
    assert lease_text.lease_text(lease(), NOW_NS, 7) == "hog: CPU cores 0.4, CPU idle on, taken back in 47s"


def test_one_of_another_dashboard_is_told_with_its_user() -> None:
    assert lease_text.lease_text(lease(), NOW_NS, 8).endswith("(root, process 7)")
    other = lease(holder=Holder(pid=7, started=1, uid=0, sudo_user="ann", ssh="192.0.2.1 5 22"))
    assert lease_text.lease_text(other, NOW_NS, 8).endswith("(ann as root from 192.0.2.1, process 7)")
    assert lease_text.holder_text(Holder(pid=7, started=1, uid=3_999_999_999)) == "uid 3999999999, process 7"


def test_the_countdown_reaches_nought_with_the_lease() -> None:
    assert lease_text.countdown(lease(), NOW_NS + 46 * S + 1) == "1s"
    assert lease_text.countdown(lease(), NOW_NS + 47 * S) == "0s"
    assert lease_text.countdown(lease(), NOW_NS + 99 * S) == "0s"
    assert lease_text.countdown(lease(expires_ns=NOW_NS + 250 * S), NOW_NS) == "4m 10s"


def test_the_head_has_the_one_that_ends_first() -> None:
    assert lease_text.head_text([], NOW_NS) == ""
    ended = lease(id="0b", state=LeaseState.REVERTED, ended_ns=NOW_NS) if "ended_ns" in Lease.__slots__ else lease()
    assert lease_text.head_text([lease(), ended][: 1 + ("ended_ns" in Lease.__slots__)], NOW_NS) == "lease hog 47s"
    sooner = lease(id="0c", name="batch", expires_ns=NOW_NS + 5 * S)
    assert lease_text.head_text([lease(), sooner], NOW_NS) == "2 leases, first 5s"


def test_a_frozen_container_is_told_as_that() -> None:
    assert lease_text.change_text(LimitChange(), frozen=True) == "frozen"


def test_a_name_from_outside_is_made_safe() -> None:
    assert "\x1b" not in lease_text.lease_text(lease(name="a\x1b[2J"), NOW_NS, 7)
