"""CPU time by processes, for a container without a cgroup of its own: descendants in a tree of /proc."""

from __future__ import annotations

import os
from pathlib import Path

from collectors.sampling.process_tree import cpu_and_threads
from runtime.kernel import procfs
from runtime.model import Missing

TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")


def process(proc: Path, pid: int, ticks: tuple[int, int, int, int], threads: dict[int, str]) -> None:
    for thread, children in threads.items():
        (proc / str(pid) / "task" / str(thread)).mkdir(parents=True)
        (proc / str(pid) / "task" / str(thread) / "children").write_text(children)
    times = " ".join(map(str, ticks))
    (proc / str(pid) / "stat").write_text(f"{pid} (a (b) c) S {'0 ' * 10}{times} 20 0 {len(threads)} 0 100 0\n")


def test_children_of_every_thread_and_the_ended_ones_are_counted(tmp_path: Path) -> None:
    process(tmp_path, 10, (1, 2, 30, 40), {10: "11", 12: "13 "})
    process(tmp_path, 11, (100, 200, 0, 0), {11: ""})
    process(tmp_path, 13, (1000, 2000, 0, 0), {13: "99"})  # 99 has ended
    process(tmp_path, 20, (7, 7, 7, 7), {20: ""})
    assert procfs.descendants(10, proc=tmp_path) == {10, 11, 13}
    cpu, threads = cpu_and_threads(10, tmp_path)
    assert (cpu.user_ns, cpu.system_ns) == (1131 * TICK_NS, 2242 * TICK_NS)
    assert (cpu.usage_ns, threads) == (3373 * TICK_NS, 4)


def test_one_that_has_ended_has_no_figures(tmp_path: Path) -> None:
    cpu, threads = cpu_and_threads(10, tmp_path)
    assert (cpu.usage_ns, threads) == (Missing.GONE, Missing.GONE)
