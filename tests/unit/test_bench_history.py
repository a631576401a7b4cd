"""The recorded figures of the benchmarks: read, compared, replaced by better ones only."""

from __future__ import annotations

import datetime

from tests.bench import history
from tests.bench.figure import Figure

TEXT = """# Performance

| figure | ratio | date | compared |
|---|---:|---|---|
| sweep | 1.50 | 2026-01-02 | this by that |
| bytes | 0.60 | 2026-01-02 | 7.2 of 12 kB/s |

The end.
"""
TODAY = datetime.date(2026, 3, 4)


def figure(name: str, ratio: float, *, wall_time: bool = False) -> Figure:
    return Figure(name, ratio, 2.0, "words", wall_time=wall_time)


def test_the_rows_of_the_table_are_read() -> None:
    assert history.recorded(TEXT) == {"sweep": 1.5, "bytes": 0.6}
    assert history.recorded(history.FILE.read_text()), "docs/performance.md has rows of this form"


def test_of_several_runs_the_best_counts_and_wall_time_does_not() -> None:
    runs = [figure("sweep", 1.7), figure("sweep", 1.6), figure("sweep", 1.9), figure("paint", 9, wall_time=True)]
    assert {name: found.ratio for name, found in history.best(runs).items()} == {"sweep": 1.6}


def test_worse_by_more_than_a_quarter_is_told() -> None:
    before = history.recorded(TEXT)
    assert history.worse({"sweep": figure("sweep", 1.87), "new": figure("new", 99)}, before) == []
    (line,) = history.worse({"sweep": figure("sweep", 1.88), "bytes": figure("bytes", 0.5)}, before)
    assert line.startswith("sweep: 1.88, recorded 1.50")


def test_a_row_is_replaced_by_a_better_figure_only_and_a_new_one_is_added() -> None:
    found = {"sweep": figure("sweep", 1.4), "bytes": figure("bytes", 0.7), "new": figure("new", 3.0)}
    text = history.replaced(TEXT, found, TODAY)
    assert history.recorded(text) == {"sweep": 1.4, "bytes": 0.6, "new": 3.0}
    assert "| sweep | 1.40 | 2026-03-04 | words |\n" in text
    assert text.startswith("# Performance\n")
    assert text.endswith("| new | 3.00 | 2026-03-04 | words |\n\nThe end.\n")
    assert history.replaced(text, found, TODAY) == text
