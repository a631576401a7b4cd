"""Tables of what is read, and what each parser makes of good and bad content, against tests/data/approved."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from collectors.sampling import layout, network, parse, process_writes, read_rules, scheduler, shared_cgroups, tracked
from collectors.sampling.layout import CounterFile
from tests.approved import approve, told

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
