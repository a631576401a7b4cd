"""What is said about a change before it is made."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import RefusedError
from runtime.kernel import block
from runtime.kernel.block import Disks
from runtime.limits import Finding, HostFacts, RecentUse, Severity, host_facts, refuse, review
from runtime.model import UNLIMITED, DeviceRate, LimitChange, LimitName, Limits, Missing

MB = 1024 * 1024
HOST = HostFacts(ncpu=2, cpus="0-1", mems="0", memory_total=2048 * MB, swap_total=0, pid_max=32768)
SWAPPY = HostFacts(
    ncpu=2, cpus="0-1", mems="0", memory_total=2048 * MB, swap_total=512 * MB, pid_max=32768, swap_free=100 * MB
)
HELD = Limits(cpus=UNLIMITED, memory=256 * MB, swap=UNLIMITED, pids=UNLIMITED, memory_reservation=UNLIMITED)
BUSY = RecentUse(cpu=1.9, memory=120 * MB, anon=70 * MB, file=40 * MB, pids=12)


def told(
    use: RecentUse | None = None, host: HostFacts = HOST, held: Limits = HELD, **fields: object
) -> list[tuple[Severity, str]]:
    change = LimitChange(**fields)  # type: ignore[arg-type]
    return [(finding.severity, finding.text) for finding in review(change, held, host, use)]


@pytest.fixture(autouse=True)
def nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own disks have no part in it."""
    monkeypatch.setattr(block, "_names", {})


R, W, I = Severity.REFUSE, Severity.WARNING, Severity.INFO  # noqa: E741


@pytest.mark.parametrize(
    ("cpus", "expected"),
    [
        (0.5, (W, "0.5 cores: it used 1.9 in the last minute, so it will be throttled most of the time")),
        (1.5, (W, "1.5 cores: it used 1.9 in the last minute, so it will be throttled at times")),
        (2.0, (I, "2 cores: it used 1.90 in the last minute")),
        (1.0, (W, "1 core: it used 1.9 in the last minute, so it will be throttled at times")),
        (3.0, (W, "3 cores: this machine has 2, so it limits nothing")),
        (0.009, (R, "0.009 cores: less than 0.01 of a core would stop it for good")),
        (UNLIMITED, (I, "no CPU limit: it may use all 2 cores")),
    ],
)
def test_cpus(cpus: object, expected: tuple[Severity, str]) -> None:
    assert told(BUSY, cpus=cpus) == [expected]


@pytest.mark.parametrize(
    ("used", "waited", "cpus", "expected"),
    [
        (
            0.2,
            0.8,
            0.2,
            (
                W,
                "0.2 cores: it used 0.2 and waited for 0.8 more in the last minute, so it will be throttled"
                " most of the time",
            ),
        ),
        (
            0.2,
            0.8,
            0.6,
            (W, "0.6 cores: it used 0.2 and waited for 0.8 more in the last minute, so it will be throttled at times"),
        ),
        (0.2, 0.8, 1.0, (I, "1 core: it used 0.20 and waited for 0.8 more in the last minute")),
        (0.2, 0.04, 0.5, (I, "0.5 cores: it used 0.20 in the last minute")),
    ],
)
def test_what_was_starved_is_judged_by_what_it_wants(
    used: float, waited: float, cpus: float, expected: tuple[Severity, str]
) -> None:
    assert told(RecentUse(cpu=used, cpu_waited=waited), cpus=cpus) == [expected]


def test_without_known_use_there_is_nothing_to_say_about_a_fair_value() -> None:
    assert told(cpus=0.5, memory=64 * MB, pids=3) == []


def test_shares_are_put_in_words() -> None:
    assert told(cpu_shares=512) == [
        (I, "512 shares: 0.5 times the normal share, and only while others want the CPU too")
    ]


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (5 * MB, (R, "5.0 MiB: less than 6.0 MiB kills most programs")),
        (64 * MB, (R, "64.0 MiB: it uses 120.0 MiB, and 80.0 MiB of it cannot be reclaimed; the kernel would kill it")),
        (100 * MB, (W, "100.0 MiB: it uses 120.0 MiB, so file cache will be dropped at once")),
        (125 * MB, (W, "125.0 MiB: it uses 120.0 MiB, which leaves little room")),
        (4096 * MB, (W, "4.0 GiB: this machine has 2.0 GiB, so it limits nothing")),
    ],
)
def test_memory(memory: int, expected: tuple[Severity, str]) -> None:
    assert told(BUSY, memory=memory) == [expected]


def test_free_swap_is_taken_into_account() -> None:
    assert told(BUSY, SWAPPY, memory=64 * MB) == [
        (W, "64.0 MiB: it uses 120.0 MiB, so 16.0 MiB go to swap, which is slow"),
        (W, "64.0 MiB: beyond it, it may fill the machine's 512.0 MiB of swap: limit swap too"),
    ]


def test_a_memory_limit_with_unlimited_swap_is_a_finding() -> None:
    words = [(W, "512.0 MiB: beyond it, it may fill the machine's 512.0 MiB of swap: limit swap too")]
    assert told(host=SWAPPY, memory=512 * MB) == words
    assert told(host=SWAPPY, memory=512 * MB, swap=0) == []
    assert told(host=SWAPPY, memory=UNLIMITED) == []
    assert told(memory=512 * MB) == []  # the machine has none


@pytest.mark.parametrize(
    ("use", "fields"),
    [
        (BUSY, {"swap": 8 * MB}),  # its own swap limit is too small
        (RecentUse(memory=120 * MB, anon=8 * MB, file=40 * MB), {}),  # what is not anonymous cannot be swapped
        (RecentUse(memory=300 * MB, anon=300 * MB, file=0), {}),  # more than the machine's free swap
        (RecentUse(memory=120 * MB, anon=80 * MB, file=40 * MB, swap=30 * MB), {"swap": 40 * MB}),  # already used
    ],
)
def test_full_swap_does_not_help(use: RecentUse, fields: dict[str, int]) -> None:
    assert R in [severity for severity, _ in told(use, SWAPPY, memory=64 * MB, **fields)]


def test_memory_high_below_use_slows_it_down() -> None:
    assert told(BUSY, memory_high=64 * MB) == [
        (W, "64.0 MiB: it holds 80.0 MiB, so it will be slowed down all the time")
    ]


def test_a_reservation_above_the_limit_is_refused_whichever_is_changed() -> None:
    assert told(memory_reservation=300 * MB) == [(R, "300.0 MiB: more than the memory limit of 256.0 MiB")]
    assert told(memory_reservation=300 * MB, memory=512 * MB) == []
    assert told(memory_reservation=300 * MB, memory=UNLIMITED) == []


def test_swap_on_a_machine_without() -> None:
    assert told(swap=MB) == [(I, "this machine has no swap, so it changes nothing now")]
    assert told(host=SWAPPY, swap=MB) == []
    assert told(swap=0) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"cpuset_cpus": "0,2"}, (R, "0,2: this machine has the CPUs 0-1")),
        ({"cpuset_mems": "1"}, (R, "1: this machine has the memory nodes 0")),
        ({"cpuset_cpus": "1"}, (I, "CPUs 1: it runs on 1 of 2")),
        ({"pids": 0}, (R, "0: at least 1")),
        ({"pids": 10}, (W, "10: it has 12 tasks; they stay, and nothing new can be started")),
        ({"pids": 40000}, (W, "40000: the kernel allows 32768, so it limits nothing")),
    ],
)
def test_cpuset_and_pids(fields: dict[str, object], expected: tuple[Severity, str]) -> None:
    assert told(BUSY, **fields) == [expected]


CAPPED = Limits(cpus=0.5, cpu_period=100_000, cpu_burst=40_000, cpu_shares=512, cpu_idle=True)


@pytest.mark.parametrize(
    ("held", "fields", "expected"),
    [
        (HELD, {"cpu_period": 20_000}, [(I, "20ms: without a CPU limit it changes nothing now")]),
        (
            CAPPED,
            {"cpu_period": 200_000},
            [(I, "200ms: its 0.5 cores come in portions of 100ms, and it waits when one is used up")],
        ),
        (
            CAPPED,
            {"cpus": 0.02, "cpu_period": 10_000},
            [
                (R, "10ms: 0.02 cores of it are less than the kernel's least portion of 1ms; at least 50ms"),
                (W, "the burst falls from 40ms to 1ms with it"),
            ],
        ),
        (HELD, {"cpu_burst": 5_000}, [(I, "5ms: without a CPU limit it changes nothing now")]),
        (CAPPED, {"cpu_burst": 0}, [(I, "no burst: what it does not use of a period is lost")]),
        (
            CAPPED,
            {"cpu_burst": 50_000},
            [(I, "50ms: after quiet ones it may use 1 core for one period")],
        ),
        (
            CAPPED,
            {"cpu_burst": 50_001},
            [(R, "50001us: more than the 50ms that it has in each period, which the kernel refuses")],
        ),
        (CAPPED, {"cpus": 0.1}, [(W, "the burst falls from 40ms to 10ms with it")]),
        (
            HELD,
            {"cpu_idle": True},
            [
                (
                    I,
                    "idle class: it runs only when nobody else wants the CPU; the best first step against a hog",
                )
            ],
        ),
        (CAPPED, {"cpu_idle": False}, [(I, "out of the idle class, back to 512 shares")]),
        (HELD, {"cpu_idle": False}, []),
    ],
)
def test_period_burst_and_class(held: Limits, fields: dict[str, object], expected: list[tuple[Severity, str]]) -> None:
    assert told(held=held, **fields) == expected


def test_a_weight_for_the_idle_class_is_refused_unless_it_is_left() -> None:
    assert told(held=CAPPED, cpu_shares=100)[0] == (
        R,
        "100 shares: it is in the idle class, which has no weight; leave the class in the same change",
    )
    assert R not in [severity for severity, _ in told(held=CAPPED, cpu_shares=100, cpu_idle=False)]


DISKY = replace(HOST, disks=Disks({"8:0": "/dev/sda"}, {"8:1": "/dev/sda"}))
OLD = replace(DISKY, weighs_io=False, counts_written_back=False)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"io_read_bps": (DeviceRate("8:0", 5 * MB),)}, [(I, "8:0: reads at most 5.0 MiB a second")]),
        ({"io_read_bps": (DeviceRate("8:0", UNLIMITED),)}, [(I, "8:0: reads as fast as the disk can")]),
        ({"io_read_bps": (DeviceRate("9:9", UNLIMITED),)}, [(I, "9:9: reads as fast as the disk can")]),
        (
            {"io_read_iops": (DeviceRate("8:0", 5),)},
            [(W, "8:0: reads at most 5 a second; a process that waits for the disk cannot be killed meanwhile")],
        ),
        (
            {"io_read_bps": (DeviceRate("8:0", 100),)},
            [(R, "8:0: reads 100 B a second, and less than 4.0 KiB a second would hang it")],
        ),
        (
            {"io_write_bps": (DeviceRate("8:0", 5 * MB),)},
            [
                (W, "cgroup v1 holds back direct and synchronous writes only, not what goes through the page cache"),
                (I, "8:0: writes at most 5.0 MiB a second"),
            ],
        ),
        (
            {"io_weight": 50},
            [
                (W, "50: no disk of this machine heeds weights (that takes the scheduler bfq, or io.cost.qos)"),
                (I, "50: 0.5 times the normal weight, and only while others want the same disk"),
            ],
        ),
        ({"net_egress": 20_000_000}, [(I, "20mbit: it sends at most 2.4 MiB a second")]),
        ({"net_ingress": UNLIMITED}, [(I, "no network limit: it receives as fast as the network can")]),
        (
            {"net_ingress": 64_000},
            [(W, "64kbit: it receives at most 7.8 KiB a second, so connections may time out")],
        ),
        (
            {"net_egress": 1000},
            [(R, "1kbit: it sends at most 125 B a second; less than 8kbit would cut it off")],
        ),
    ],
)
def test_disks_and_network(fields: dict[str, object], expected: list[tuple[Severity, str]]) -> None:
    assert told(host=OLD, **fields) == expected


TALKING = RecentUse(sent=80e6, received=900.0)


@pytest.mark.parametrize(
    ("use", "fields", "expected"),
    [
        (
            TALKING,
            {"net_egress": 20_000_000},
            [
                (
                    W,
                    "20mbit: it sends at most 2.4 MiB a second; it sent 9.5 MiB a second in the last minute, "
                    "so it will be slowed down",
                )
            ],
        ),
        (
            TALKING,
            {"net_ingress": 20_000_000},
            [(I, "20mbit: it receives at most 2.4 MiB a second; it received 112 B a second in the last minute")],
        ),
        (
            RecentUse(sharing=("db", "web")),
            {"net_egress": 20_000_000},
            [
                (W, "db, web use its network too: this is what all of them have together"),
                (I, "20mbit: it sends at most 2.4 MiB a second"),
            ],
        ),
    ],
)
def test_traffic_of_the_last_minute_and_containers_that_share_the_network(
    use: RecentUse, fields: dict[str, object], expected: list[tuple[Severity, str]]
) -> None:
    assert told(use, **fields) == expected


def test_only_disks_that_are_there_and_whole_are_limited() -> None:
    assert told(host=DISKY, io_read_bps=(DeviceRate("8:1", MB),)) == [
        (R, "8:1 is a partition of /dev/sda, and the kernel limits whole disks")
    ]
    assert told(host=DISKY, io_read_bps=(DeviceRate("9:9", MB),)) == [
        (R, "this machine has no block device 9:9 (it has /dev/sda)")
    ]
    assert told(io_read_bps=(DeviceRate("9:9", MB),)) == [(I, "9:9: reads at most 1.0 MiB a second")], "nobody knows"
    assert told(host=DISKY, io_weight=50) == [
        (I, "50: 0.5 times the normal weight, and only while others want the same disk")
    ]
    assert told(host=DISKY, io_write_bps=(DeviceRate("8:0", 5 * MB),)) == [(I, "8:0: writes at most 5.0 MiB a second")]


def test_a_refusal_below_use_names_the_way() -> None:
    with pytest.raises(RefusedError, match="120") as caught:
        refuse(LimitChange(memory=64 * MB), HELD, HOST, BUSY)
    assert "--reclaim" in caught.value.hint
    with pytest.raises(RefusedError) as caught:
        refuse(LimitChange(memory=MB), HELD, HOST, None)
    assert "--reclaim" not in caught.value.hint


def test_the_worst_comes_first() -> None:
    found = review(LimitChange(cpus=0.5, memory=MB, pids=10, cpuset_cpus="0"), HELD, HOST, BUSY)
    assert [finding.severity for finding in found] == [R, W, W, I]
    assert found[0].name is LimitName.MEMORY


@given(
    st.builds(
        LimitChange,
        cpus=st.none() | st.just(UNLIMITED) | st.floats(0.001, 70000),
        cpu_shares=st.none() | st.integers(2, 262_144),
        memory=st.none() | st.just(UNLIMITED) | st.integers(0, 2**60),
        memory_high=st.none() | st.just(UNLIMITED) | st.integers(0, 2**60),
        memory_reservation=st.none() | st.just(UNLIMITED) | st.integers(0, 2**60),
        swap=st.none() | st.just(UNLIMITED) | st.integers(0, 2**60),
        pids=st.none() | st.just(UNLIMITED) | st.integers(0, 2**22),
        cpu_period=st.none() | st.integers(1000, 1_000_000),
        cpu_burst=st.none() | st.integers(0, 10**9),
        cpu_idle=st.none() | st.booleans(),
        io_weight=st.none() | st.integers(1, 10_000),
        io_write_bps=st.none() | (st.just(UNLIMITED) | st.integers(1, 2**60)).map(lambda n: (DeviceRate("8:0", n),)),
        net_egress=st.none() | st.just(UNLIMITED) | st.integers(1, 10**13),
    ),
    st.sampled_from([Limits(), HELD, CAPPED, Limits(memory=Missing.DENIED)]),
    st.builds(
        RecentUse,
        cpu=st.none() | st.floats(0, 64),
        memory=st.none() | st.integers(0, 2**50),
        anon=st.none() | st.integers(0, 2**50),
        file=st.none() | st.integers(0, 2**50),
        pids=st.none() | st.integers(0, 2**22),
        swap=st.none() | st.integers(0, 2**50),
    ),
)
def test_every_finding_belongs_to_a_limit_of_the_change(change: LimitChange, held: Limits, use: RecentUse) -> None:
    asked = {name for name, _ in change.items()}
    for finding in review(change, held, SWAPPY, use):
        assert isinstance(finding, Finding)
        assert finding.name in asked
        assert finding.text
        assert "\n" not in finding.text


def test_this_machine_has_cpus_and_memory() -> None:
    facts = host_facts()
    assert facts.ncpu >= 1
    assert facts.cpus
    assert facts.mems
    assert facts.memory_total > 16 * MB
    assert facts.pid_max > 100
    assert 0 <= facts.swap_free <= facts.swap_total
