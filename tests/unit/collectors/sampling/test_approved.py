"""Tables of what is read, and what each parser makes of good and bad content, against tests/data/approved."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from collectors.sampling import (
    layout,
    network,
    parse,
    process_writes,
    rates,
    read_rules,
    scheduler,
    shared_cgroups,
    totals,
    tracked,
)
from collectors.sampling.frame import Usage
from collectors.sampling.layout import CounterFile
from collectors.sampling.sample import (
    CpuCounters,
    IoCounters,
    MemoryGauges,
    NetCounters,
    PressureTotals,
    Sample,
    Sharing,
)
from runtime.model import UNLIMITED, ContainerRef, Missing
from tests.approved import approve, stable, told

NET_DEV = (
    b"Inter-|   Receive   |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n"
    b"    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0: 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36\n"
)
PRESSURE = (
    b"some avg10=0.00 avg60=0.00 avg300=0.00 total=11\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
    b"some avg10=0.00 avg60=0.00 avg300=0.00 total=11\n",
)
STAT_V1 = (
    b"cache 1\nrss 2\nhierarchical_memory_limit 99\nhierarchical_memsw_limit 98\ntotal_cache 30\ntotal_rss 20\n"
    b"total_rss_huge 0\ntotal_shmem 10\ntotal_mapped_file 0\ntotal_swap 6\ntotal_inactive_anon 0\n"
    b"total_inactive_file 5\n"
)
STAT_V2 = b"anon 20\nfile 30\nkernel 1\nshmem 10\ninactive_anon 0\ninactive_file 5\nworkingset_refault_anon 3\n"
CPU_STAT = b"usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 5\nnr_throttled 3\nthrottled_usec 2\n"
CONTENTS = (
    *(b"", b"0\n", b"1", b"-1\n", b"max\n", b"max", b"MAX\n", b"9223372036854771712\n"),
    *(b"x\n", b"1 2\n", b"\xff"),
    *(b"max 100000\n", b"50000 100000\n", b"50000\n", b"0 0\n", b"0-3,5\n"),
    *(CPU_STAT, CPU_STAT.replace(b"nr_", b"no_"), b"user_usec 20\nusage_usec 30\nsystem_usec 10\n", b"usage_usec x\n"),
    *(b"user 7\nsystem 3\n", b"user 7\n", b"nr_periods 5\nnr_throttled 3\nthrottled_time 2\n"),
    *(STAT_V1, STAT_V1.replace(b"total_shmem 10\n", b""), STAT_V1.replace(b"99", b"9223372036854771712")),
    *(STAT_V1.replace(b"total_cache", b"total_cach"), STAT_V1.replace(b"5\n", b"-5\n")),
    *(STAT_V2, STAT_V2.replace(b"shmem 10\n", b""), STAT_V2.replace(b"file 30", b"file 5")),
    *(b"low 0\nhigh 0\nmax 2\noom 1\noom_kill 4\n", b"oom_kill_disable 0\nunder_oom 0\noom_kill 6\n"),
    *(b"8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n8:16 rbytes=7\n", b"8:0\n", b"8:0 rbytes=x\n"),
    *(b"8:0 Read 1\n8:0 Write 2\n8:0 Sync 3\n8:0 Total 3\nTotal 3\n", b"Total 0\n"),
    *(NET_DEV, NET_DEV.replace(b" 36", b""), *PRESSURE),
)


def test_what_the_parsers_make_of_files() -> None:
    lines = []
    for name, function in sorted(vars(parse).items()):
        if name.startswith("_") or not inspect.isfunction(function) or function.__module__ != parse.__name__:
            continue
        if len(inspect.signature(function).parameters) != 1:
            continue
        said: set[str] = set()
        for content in CONTENTS:
            result = told(function, content)
            if result not in said:
                lines.append(f"{name} {content[:48]!r}: {result}")
            said.add(result)
    approve("sampling_parsers", lines)


def test_the_tables_of_what_is_read() -> None:
    lines = [
        f"{resource}: {_file(file)}"
        for table in (layout.V1, layout.V2)
        for resource, files in table.items()
        for file in files
    ]
    lines += [_file(file) for file in (*layout.PSI, layout.UNIFIED_CPU)]
    for module in (layout, read_rules, scheduler, tracked, process_writes):
        plain = (
            item for item in sorted(vars(module).items()) if item[0].isupper() and isinstance(item[1], int | float)
        )
        lines += [f"{module.__name__.rpartition('.')[2]}.{name}: {value}" for name, value in plain]
    lines += [f"internal: {name}" for name in network.INTERNAL_NAMES]
    lines += [f"parent: {name}" for name in sorted(shared_cgroups.ENGINE_PARENTS)]
    approve("sampling_tables", lines)


def _file(file: CounterFile) -> str:
    parser: Callable[..., Any] = file.parse
    return f"{file.name} slot {file.slot} part {file.part} by {parser.__name__} {file.size} bytes, {file.width} values"


# rates and sums


def _sample(at: int, times: int, **changed: Any) -> Sample:
    """A sample whose counters are `times` small numbers, all different."""
    number = itertools.count(1)

    def grown() -> int:
        return next(number) * times * 1000

    whole = Sample(
        at_ns=at * 10**9,
        generation=1,
        cpu=CpuCounters(*(grown() * 10**4 for _ in CpuCounters._fields)),
        cpu_limit=1.5,
        memory=MemoryGauges(*(grown() for _ in MemoryGauges._fields)),
        pids=7,
        pids_limit=UNLIMITED,
        sharing=Sharing(50, True, frozenset({0, 2}), 70),
        io={
            "8:0": IoCounters(*(grown() for _ in range(4))),
            "8:16": IoCounters(*(grown() for _ in range(4))),
            "253:0": IoCounters(*(grown() for _ in range(4)), stacked=True),
        },
        net={
            "eth0": _net(grown, external=True),
            "eth1": _net(grown, external=True),
            "br0": _net(grown, external=False),
        },
        pressure={name: PressureTotals(grown() * 10**4, grown() * 10**3) for name in ("cpu", "memory", "io")},
    )
    return whole._replace(**changed)


def _net(grown: Callable[[], int], *, external: bool) -> NetCounters:
    names = ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets", "rx_errors", "tx_errors", "rx_drops", "tx_drops")
    return NetCounters(**{name: grown() for name in names}, external=external)


def _differing(whole: Usage, other: Usage) -> str:
    pairs = zip(Usage._fields, whole, other, strict=True)
    return ", ".join(f"{name}={stable(after)}" for name, before, after in pairs if before != after)


def test_what_two_samples_make() -> None:
    before, after = _sample(1, 1), _sample(3, 4)
    whole = rates.derive(before, after, 2)
    lines = [f"whole {name}: {stable(value)}" for name, value in whole._asdict().items()]
    missing: dict[str, Any] = {
        **dict.fromkeys(("cpu_limit", "pids", "pids_limit", "io", "net"), Missing.DENIED),
        "cpu": CpuCounters(),
        "memory": MemoryGauges(),
        "pressure": {},
    }
    for name, nothing in missing.items():
        for what, one, two in (
            ("before", before._replace(**{name: nothing}), after),
            ("after", before, after._replace(**{name: nothing})),
        ):
            lines.append(f"without {name} {what}: {_differing(whole, rates.derive(one, two, 2))}")
        lines.append(
            f"first without {name}: {_differing(whole, rates.derive(None, after._replace(**{name: nothing}), 2))}"
        )
    for field in CpuCounters._fields:
        fallen = before._replace(cpu=before.cpu._replace(**{field: 10**18}))
        lines.append(f"{field} fell: {_differing(whole, rates.derive(fallen, after, 2))}")
        unknown = after._replace(cpu=after.cpu._replace(**{field: Missing.GONE}))
        lines.append(f"{field} is gone: {_differing(whole, rates.derive(before, unknown, 2))}")
    io, net = before.io, before.net
    assert not isinstance(io, Missing)
    assert not isinstance(net, Missing)
    for what, old in (
        ("a new cgroup", before._replace(generation=2)),
        ("the same time", before._replace(at_ns=after.at_ns)),
        ("nothing moved", after._replace(at_ns=before.at_ns)),
        ("no device before", before._replace(io={})),
        ("one device before", before._replace(io={"8:0": io["8:0"]})),
        ("no interface before", before._replace(net={})),
        ("one interface before", before._replace(net={"br0": net["br0"]})),
        ("traffic fell", before._replace(net={**net, "eth0": replace(net["eth0"], rx_bytes=10**18)})),
        ("inner traffic fell", before._replace(net={**net, "br0": replace(net["br0"], tx_drops=10**18)})),
        ("a device fell", before._replace(io={**io, "8:0": replace(io["8:0"], write_ops=10**18)})),
        ("written by processes", before._replace(written=500)),
    ):
        new = after._replace(written=5500) if "written" in what else after
        lines.append(f"{what}: {_differing(whole, rates.derive(old, new, 2))}")
    lines.append(f"written, first: {_differing(whole, rates.derive(before, after._replace(written=5500), 2))}")
    lines.append(f"one CPU: {_differing(whole, rates.derive(before, after, 1))}")
    approve("sampling_rates", lines)


def test_what_members_of_a_group_sum_up_to() -> None:
    refs = [ContainerRef("e", name) for name in "abc"]
    one = rates.derive(_sample(1, 1), _sample(3, 4), 2)
    two = rates.derive(_sample(1, 1), _sample(3, 2), 2)
    networks = dict(zip(refs, (1, 2, 3), strict=True))
    lines = []
    for what, usages, shared in (
        ("both", {refs[0]: one, refs[1]: two}, networks),
        ("one network", {refs[0]: one, refs[1]: two}, dict.fromkeys(refs, 1)),
        ("one not measured", {refs[0]: one}, networks),
        ("no limit", {refs[0]: one._replace(memory_limit=UNLIMITED), refs[1]: two}, networks),
        ("denied", {refs[0]: one._replace(memory=Missing.DENIED, cpu=Missing.GONE), refs[1]: two}, networks),
    ):
        found = totals.total(usages, refs[:2], shared)
        assert found is not None
        lines += [f"{what} {name}: {stable(value)}" for name, value in found._asdict().items()]
    approve("sampling_totals", lines)
