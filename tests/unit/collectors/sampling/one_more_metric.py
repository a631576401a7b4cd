"""Run as a program by test_metrics.py: what the whole program makes of more entries in the registry of metrics.

The entries are over counters that every `Sample` has and for which `Usage` has no field. They are added before anything
else is imported, as if they stood in the module's table. Prints one JSON document.
"""

from __future__ import annotations

import json

from collectors.sampling import metrics
from collectors.sampling.metrics import MetricType, MetricUnit, from_sample

SUMMED, APART, GAUGE = "periods_per_s", "throttled_periods_per_s", "peak_again"
metrics.METRICS = {  # type: ignore[misc]
    **metrics.METRICS,
    SUMMED: from_sample(
        SUMMED, MetricUnit.PER_S, MetricType.RATE, "Periods", lambda s: s.cpu.periods, summable=True, drawn=True
    ),
    APART: from_sample(APART, MetricUnit.PER_S, MetricType.RATE, "Cut", lambda s: s.cpu.throttled_periods),
    GAUGE: from_sample(GAUGE, MetricUnit.BYTES, MetricType.GAUGE, "Peak", lambda s: s.memory.peak, summable=True),
}

from collectors.history.rings import History  # noqa: E402
from collectors.sampling.frame import Frame, HostUsage, Usage  # noqa: E402
from collectors.sampling.rates import derive  # noqa: E402
from collectors.sampling.sample import CpuCounters, MemoryGauges, Sample  # noqa: E402
from collectors.sampling.totals import total  # noqa: E402
from runtime.model import Container, ContainerRef, State  # noqa: E402
from tui.cli.output import plain  # noqa: E402
from tui.cli.stats import as_json  # noqa: E402
from tui.present import plots, table  # noqa: E402
from tui.present.fields import FIELDS  # noqa: E402

S = 1_000_000_000
ADDED = (SUMMED, APART, GAUGE)


def sample(at_s: int, periods: int) -> Sample:
    cpu = CpuCounters(periods=periods, throttled_periods=periods // 2)
    return Sample(at_s * S, 1, cpu=cpu, memory=MemoryGauges(peak=100))


def frame(at_s: int, usages: dict[ContainerRef, Usage]) -> Frame:
    return Frame(at_s, at_s * S, at_s * S, S, 0, HostUsage(ncpu=2), usages=usages)


def main() -> None:
    a, b, group = (Container(ContainerRef("x", name), name, "image", State.RUNNING) for name in ("a", "b", "group"))
    first = derive(None, sample(1, 0), 2)
    usage = derive(sample(1, 0), sample(3, 20), 2)
    usages = {a.ref: usage, b.ref: usage}
    summed = total(usages, [a.ref, b.ref], {})
    assert summed is not None
    history = History(10)
    history.push(frame(1, {a.ref: first}))
    history.push(frame(3, usages))
    document = as_json(frame(3, {**usages, group.ref: summed}), [a, group], {})
    found = {
        "first": [plain(FIELDS[id].extract(a, first)) for id in ADDED],
        "ring": [history.series(a.ref, id).values for id in ADDED],
        "mean": [history.mean(a.ref, id, 60) for id in ADDED],
        "json": [[each[id] for id in ADDED] for each in document["containers"]],
        "text": [FIELDS[id].format(FIELDS[id].extract(a, usage)) for id in ADDED],
        "heads": [FIELDS[id].title for id in ADDED],
        "columns": sorted(table.COLUMN_IDS & set(ADDED)),
        "graphs": [measure.metric for measure in plots.SMALL if measure.metric in ADDED],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
