"""The processes of a container as lines of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from collectors.inspection.processes import Process
from tui.present import format as fmt
from tui.present.paragraph import Paragraph

HEADS = f"{'pid':>8}{'inside':>8} {'user':<9}{'s':<2}{'cpu':>6}{'time':>8}{'rss':>7}{'thr':>5}  command"


def rates(before: Mapping[int, float], now: Sequence[Process], seconds: float) -> dict[int, float]:
    """Cores used by each process since the read before; a process that is new has no rate."""
    if seconds <= 0:
        return {}
    return {
        process.pid: (process.cpu_time_s - before[process.pid]) / seconds
        for process in now
        if process.pid in before and process.cpu_time_s >= before[process.pid]
    }


def rows(found: Sequence[Process], cores: Mapping[int, float]) -> list[Paragraph]:
    """One line per process; by cores, then by the time used."""
    ordered = sorted(found, key=lambda p: (-round(cores.get(p.pid, 0.0), 2), -p.cpu_time_s, p.pid))
    lines: list[Paragraph] = []
    for p in ordered:
        cpu = fmt.cores(cores[p.pid]) if p.pid in cores else fmt.GAP
        inside = fmt.GAP if p.inner_pid is None else str(p.inner_pid)
        user = fmt.fit(fmt.clean(p.user), 8, more="~")
        text = (
            f"{p.pid:>8}{inside:>8} {user} {p.state:<2}{cpu:>6}{spent(p.cpu_time_s):>8}{fmt.size(p.rss):>7}"
            f"{p.threads:>5}  {fmt.clean(p.command)}"
        )
        lines.append(("warn" if p.state in "DZ" else "text", text))
    return lines


def spent(seconds: float) -> str:
    """CPU time as minutes:seconds, or hours from 100 minutes on: "0:07.5", "12:34", "5h02"."""
    minutes, rest = divmod(seconds, 60)
    if minutes >= 100:
        return f"{minutes // 60:.0f}h{minutes % 60:02.0f}"
    return f"{minutes:.0f}:{int(rest * 10) / 10:04.1f}"
