"""Network rates as they are written and read, what passed between two looks, who shares a network."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InvalidError
from runtime.kernel.external_links import external_links
from runtime.limits import units
from runtime.limits.controllers.network import Queue, achieved
from runtime.model import LIMITS, UNLIMITED, LimitChange, LimitName, Unlimited
from tests.app.fakes import container
from tui.core.hosts.host import RecentUsage
from tui.core.inspector import Inspector


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("20mbit", 20_000_000),
        ("20 Mbit", 20_000_000),
        ("500kbit", 500_000),
        ("1gbit", 1_000_000_000),
        ("1.5m", 1_500_000),
        ("2mbps", 16_000_000),
        ("125bps", 1000),
        ("1kibit", 1024),
        ("1500", 1500),
        ("unlimited", UNLIMITED),
        ("-1", UNLIMITED),
    ],
)
def test_a_rate_in_the_words_of_tc(text: str, bits: int | Unlimited) -> None:
    assert units.parse_rate(text) == bits


@pytest.mark.parametrize("text", ["", "20mb", "20mbits", "mbit", "1tbit", "-5kbit", "1e6", "0", "\u0662mbit"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(InvalidError, match="network rate"):
        units.parse_rate(text)


def test_a_rate_without_a_unit_is_a_finding() -> None:
    with pytest.raises(InvalidError) as caught:
        units.parse_rate("20")
    assert caught.value.detail == "less than 1kbit"
    assert "20mbit" in caught.value.hint


@given(
    st.one_of(
        st.just(UNLIMITED), st.integers(LIMITS[LimitName.NET_EGRESS].minimum, LIMITS[LimitName.NET_EGRESS].maximum)
    )
)
def test_rates_round_trip(rate: int | Unlimited) -> None:
    assert units.parse_rate(units.format_rate(rate)) == rate


@given(st.text(alphabet="0123456789.-kmgtibps \u0663\u00b2", max_size=30))
def test_no_text_crashes_the_parser(text: str) -> None:
    try:
        rate = units.parse_rate(text)
    except InvalidError:
        return
    assert rate is UNLIMITED or LIMITS[LimitName.NET_EGRESS].minimum <= rate <= LIMITS[LimitName.NET_EGRESS].maximum


def test_the_achieved_rate_between_two_readings() -> None:
    before = Queue(rate=8_000_000, sent_bytes=1_000_000)
    after = replace(before, sent_bytes=2_000_000)
    assert achieved(before, after, 2.0) == 4_000_000
    assert achieved(after, before, 2.0) is None, "made anew meanwhile"
    assert achieved(before, after, 0.0) is None


class Link(dict[str, Any]):
    """An interface as rtnetlink describes it: its kind, the number of the namespace beyond it, its bridge."""

    def get_attr(self, name: str) -> Any:
        return self.get(name)


def link(name: str, kind: str | None = None, beyond: int | None = None, master: int | None = None) -> Link:
    info = None if kind is None else Link(IFLA_INFO_KIND=kind)
    return Link(IFLA_IFNAME=name, IFLA_LINKINFO=info, IFLA_LINK_NETNSID=beyond, IFLA_MASTER=master)


INSIDE = (
    link("docker0", "bridge"),
    link("port", "veth", beyond=3, master=9),
    link("both", "veth"),
    link("mv", "macvlan"),
    link("sit0", "sit"),
    link("dummy0", "dummy"),
)


@pytest.mark.parametrize(
    ("links", "names"),
    [
        ((), ""),
        ((link("eth0", "veth", beyond=0),), "eth0"),
        ((link("eth0", "veth", beyond=0), link("wg0", "wireguard"), link("routed", "veth", beyond=3)), "eth0"),
        ((link("eth0", "veth", beyond=0), link("eth1", "veth", beyond=0, master=9)), "eth0 eth1"),
        ((link("ens5"), link("routed", "veth", beyond=3)), "ens5"),
        ((link("eth0", "ipvlan", beyond=3), link("vpn", "tun")), "eth0"),
        ((link("eth0", "veth", beyond=5), link("vpn", "tun")), "eth0"),
        ((link("tap0", "tun"),), "tap0"),
    ],
)
def test_what_leads_out(links: tuple[Link, ...], names: str) -> None:
    """Our namespace has the number 0 there."""
    assert [found["IFLA_IFNAME"] for found in external_links((*INSIDE, *links), 0)] == names.split()


async def test_those_in_the_same_network_namespace_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inspector, "cgroup", lambda _self, _container: None)
    here, gone = os.getpid(), 2**22 - 1
    web = replace(container("web"), pid=here)
    others = [
        replace(container(name), pid=pid) for name, pid in (("proxy", here), ("db", here), ("old", None), ("x", gone))
    ]

    async def told(change: LimitChange) -> list[str]:
        found = await Inspector().preview(web, change, RecentUsage(None, lambda _metric: None), others)
        return [finding.text for finding in found.findings]

    assert any("db, proxy use its network too" in text for text in await told(LimitChange(net_ingress=1_000_000)))
    assert not any("network" in text for text in await told(LimitChange(pids=9)))
