"""External and internal interfaces, without a kernel: by name, and between two samples."""

from __future__ import annotations

from collectors.sampling.frame import NetRates
from collectors.sampling.network import external_by_name
from collectors.sampling.rates import derive
from collectors.sampling.sample import NetCounters, Sample
from runtime.model import Missing


def at(second: int, **net: NetCounters) -> Sample:
    return Sample(second * 10**9, 1, net=net)


def inner(count: int) -> NetCounters:
    return NetCounters(tx_bytes=count, external=False)


def test_names_alone_never_count_nothing() -> None:
    assert external_by_name(["eth0", "tun0", "docker0"]) == {"eth0"}
    assert external_by_name(["tap0", "veth1"]) == {"tap0", "veth1"}
    assert external_by_name([]) == frozenset()


def test_a_tunnel_that_is_made_anew_leaves_the_sum_as_it_is() -> None:
    usage = derive(
        at(1, eth0=NetCounters(tx_bytes=10), vpn=inner(50)), at(2, eth0=NetCounters(tx_bytes=30), vpn=inner(0)), 1
    )
    assert usage.net.tx_bytes == 20.0
    assert set(usage.net_interfaces) == {"eth0"}
    assert usage.net_internal == {}


def test_with_internal_interfaces_alone_nothing_leaves() -> None:
    usage = derive(at(1, docker0=inner(50)), at(2, docker0=inner(80)), 1)
    assert usage.net.tx_bytes == 0.0
    assert usage.net_internal["docker0"].tx_bytes == 30.0


def test_a_new_way_out_counts_from_the_next_sample_on() -> None:
    usage = derive(at(1, docker0=inner(50)), at(2, docker0=inner(80), eth0=NetCounters(tx_bytes=30)), 1)
    assert usage.net is Missing.NOT_SAMPLED
    assert usage.net_internal["docker0"].tx_bytes == 30.0


def test_every_figure_of_two_ways_out_is_added() -> None:
    def counters(n: int) -> NetCounters:
        return NetCounters(
            rx_bytes=n,
            tx_bytes=2 * n,
            rx_packets=3 * n,
            tx_packets=4 * n,
            rx_errors=5 * n,
            tx_errors=6 * n,
            rx_drops=7 * n,
            tx_drops=8 * n,
        )

    usage = derive(at(1, a=counters(1), b=counters(10)), at(3, a=counters(3), b=counters(30)), 1)
    assert usage.net == NetRates(11.0, 22.0, 33.0, 44.0, 121.0, 165.0)
    assert usage.net_interfaces["b"] == NetRates(10.0, 20.0, 30.0, 40.0, 110.0, 150.0)


def test_one_that_fell_gives_no_sum() -> None:
    assert derive(at(1, a=NetCounters(rx_drops=5)), at(2, a=NetCounters()), 1).net is Missing.NOT_SAMPLED
