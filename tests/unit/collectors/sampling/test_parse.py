"""Kernel files into numbers: good content, bad content, and never a crash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.sampling import parse
from collectors.sampling.sample import IoCounters, NetCounters, PressureTotals
from runtime.model import UNLIMITED, Missing

UNSUPPORTED = Missing.UNSUPPORTED

CPU_V2 = b"usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 10\nnr_throttled 4\nthrottled_usec 7\n"
PSI = b"some avg10=0.00 avg60=1.50 avg300=2.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"
NET = b"""Inter-|   Receive                                        |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:  100       1    0    0    0     0          0         0  100       1    0    0    0     0       0          0
  eth0: 2000      20    1    2    0     0          0         0 3000      30    3    4    0     0       0          0
a:b:1:     5       1    0    0    0     0          0         0    6       2    0    0    0     0       0          0
"""


def test_numbers_and_limits() -> None:
    assert parse.number(b"42\n") == 42
    assert parse.number(b"-1\n") is UNSUPPORTED
    assert parse.number(b"many\n") is UNSUPPORTED
    assert parse.limit(b"max\n") is UNLIMITED
    assert parse.limit(b"9223372036854771712\n") is UNLIMITED
    assert parse.limit(b"1048576\n") == 1048576
    assert parse.quota_v1(b"-1\n") is UNLIMITED
    assert parse.cpu_max(b"20000 100000\n") == 0.2
    assert parse.cpu_max(b"max 100000\n") is UNLIMITED
    assert parse.cpu_max(b"20000 0\n") is UNSUPPORTED


def test_cpu_times_become_nanoseconds() -> None:
    assert parse.cpu_stat_v2(CPU_V2) == (1_500_000, 1_000_000, 500_000, 10, 4, 7_000)
    assert parse.cpu_times(b"usage_usec 1\n") == (1_000, UNSUPPORTED, UNSUPPORTED)
    assert parse.cpu_stat_v1(b"nr_periods 3\nnr_throttled 2\nthrottled_time 99\n") == (3, 2, 99)
    user, system = parse.cpuacct_stat(b"user 100\nsystem 50\n")
    assert (user, system) == (100 * parse.NS_PER_TICK, 50 * parse.NS_PER_TICK)


def test_memory_stat_of_both_versions() -> None:
    v2 = b"anon 10\nfile 20\nkernel 1\ninactive_file 5\n"
    assert parse.memory_stat_v2(v2) == (10, 20, UNSUPPORTED, 5, UNSUPPORTED, UNSUPPORTED)
    v1 = (
        b"cache 1\nrss 2\ninactive_file 3\nhierarchical_memory_limit 9223372036854771712\n"
        b"total_cache 20\ntotal_rss 10\ntotal_swap 7\ntotal_inactive_file 5\n"
    )
    assert parse.memory_stat_v1(v1) == (10, 20, UNSUPPORTED, 5, UNSUPPORTED, UNSUPPORTED, 7, UNLIMITED)


def test_refaults_and_major_faults_of_every_kernel() -> None:
    """Anon and file apart since Linux 5.9, one line before; v1 has the own figures and those of the whole subtree."""
    v2 = b"anon 10\nfile 20\nshmem 1\ninactive_file 5\nworkingset_nodes 9\n%spgfault 8\npgmajfault 3\n"
    assert parse.memory_stat_v2(v2 % b"workingset_refault_anon 2\nworkingset_refault_file 5\n")[4:] == (7, 3)
    assert parse.memory_stat_v2(v2 % b"workingset_refault 6\nworkingset_activate 4\n")[4:] == (6, 3)
    assert parse.memory_stat_v2(v2 % b"workingset_refault_anon 2\n")[4:] == (UNSUPPORTED, 3)
    assert parse.memory_stat_v2(v2 % b"workingset_refault_anon -2\nworkingset_refault_file 5\n")[4] is UNSUPPORTED
    v1 = (
        b"cache 1\nrss 2\nshmem 1\nworkingset_refault_anon 91\nworkingset_refault_file 92\npgmajfault 93\n"
        b"hierarchical_memory_limit 100\ntotal_cache 20\ntotal_rss 10\ntotal_shmem 15\n"
        b"total_workingset_refault_anon 2\ntotal_workingset_refault_file 5\ntotal_swap 7\ntotal_pgmajfault 3\n"
        b"total_inactive_file 5\n"
    )
    assert parse.memory_stat_v1(v1) == (10, 5, 15, 5, 7, 3, 7, 100)
    older = v1.replace(
        b"total_workingset_refault_anon 2\ntotal_workingset_refault_file 5", b"total_workingset_refault 6"
    )
    assert parse.memory_stat_v1(older) == (10, 5, 15, 5, 6, 3, 7, 100)
    assert parse.memory_stat_v1(older.replace(b"total_pgmajfault 3", b"total_pgmajfault x"))[5] is UNSUPPORTED


def test_shared_memory_and_tmpfs_are_no_file_cache() -> None:
    """The kernel counts them as cache; they cannot be dropped."""
    v2 = b"anon 10\nfile 20\nshmem 15\nshmem_thp 1\ninactive_file 5\n"
    assert parse.memory_stat_v2(v2)[:4] == (10, 5, 15, 5)
    v1 = (
        b"cache 1\nrss 2\nshmem 1\nhierarchical_memory_limit 9223372036854771712\n"
        b"total_cache 20\ntotal_rss 10\ntotal_shmem 15\ntotal_swap 7\ntotal_inactive_file 5\n"
    )
    assert parse.memory_stat_v1(v1)[:4] == (10, 5, 15, 5)
    assert parse.memory_stat_v2(v2.replace(b"shmem 15", b"shmem 25"))[1] == 0, "read at different moments"


def test_oom_kill_is_distinguished_from_oom() -> None:
    assert parse.oom_kills(b"low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n") == 1
    assert parse.oom_kills(b"oom_kill_disable 0\nunder_oom 0\noom_kill 6\n") == 6
    assert parse.oom_kills(b"oom_kill_disable 0\nunder_oom 0\n") is UNSUPPORTED


def test_pressure_takes_totals_and_never_averages() -> None:
    assert parse.pressure(PSI) == PressureTotals(12_000, 5_000)
    assert parse.pressure(PSI.split(b"\n")[0] + b"\n") == PressureTotals(12_000, UNSUPPORTED)


def test_pressure_is_found_also_in_an_order_that_no_kernel_writes_today() -> None:
    some, full = PSI.splitlines()
    assert parse.pressure(full + b"\n" + some + b"\n") == PressureTotals(12_000, 5_000)
    assert parse.pressure(PSI.replace(b"total=5", b"total=-5")) == PressureTotals(12_000, UNSUPPORTED)


def test_every_device_counts() -> None:
    text = b"8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n253:1 rbytes=10 wbytes=0 rios=1 wios=0\n9:9\n"
    assert parse.io_stat_v2(text) == {
        "8:0": IoCounters(1, 2, 3, 4),
        "253:1": IoCounters(10, 0, 1, 0),
        "9:9": IoCounters(),
    }
    sizes = parse.blkio_v1(b"8:0 Read 1\n8:0 Write 2\n8:0 Sync 9\nTotal 12\n")
    counts = parse.blkio_v1(b"8:0 Read 3\n8:0 Write 4\n")
    assert parse.merge_io_v1(sizes, counts) == {"8:0": IoCounters(1, 2, 3, 4)}
    assert parse.merge_io_v1(sizes, {"8:16": (5, 6)}) == {"8:0": IoCounters(1, 2, 0, 0), "8:16": IoCounters(0, 0, 5, 6)}


def test_every_interface_but_lo_counts() -> None:
    found = parse.net_dev(NET)
    assert set(found) == {"eth0", "a:b:1"}
    assert found["eth0"] == NetCounters(
        rx_bytes=2000, tx_bytes=3000, rx_packets=20, tx_packets=30, rx_errors=1, tx_errors=3, rx_drops=2, tx_drops=4
    )


PARSERS = (
    parse.number,
    parse.limit,
    parse.quota_v1,
    parse.cpu_max,
    parse.cpu_stat_v1,
    parse.cpu_stat_v2,
    parse.cpu_times,
    parse.cpuacct_stat,
    parse.memory_stat_v1,
    parse.memory_stat_v2,
    parse.oom_kills,
    parse.pressure,
    parse.io_stat_v2,
    parse.blkio_v1,
    parse.net_dev,
)
GOOD = (CPU_V2, PSI, NET, b"8:0 rbytes=1 wbytes=2\n", b"8:0 Read 5\n", b"max 100000\n", b"-1\n")


@pytest.mark.parametrize("parser", PARSERS)
@given(
    st.one_of(st.binary(max_size=300), st.sampled_from(GOOD), st.text("0123456789 :=\nmaxtotalsome").map(str.encode))
)
def test_no_content_makes_a_parser_crash(parser: object, data: bytes) -> None:
    parser(data)  # type: ignore[operator]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("good", GOOD)
def test_cut_short_anywhere_it_does_not_crash(parser: object, good: bytes) -> None:
    for end in range(0, len(good), 7):
        parser(good[:end])  # type: ignore[operator]
