"""`make bench`: run every benchmark (or those named), print one line per figure, exit 1 when one is over its bound.

A benchmark is a module of this package with a function `figures(*, short)`. It raises `Unavailable` when what it
compares with is not on this machine; that is printed, never counted as a pass.

`--short` measures less (40 containers instead of 200, fewer turns), three times those figures that are not wall time,
and fails only where the best of the three is worse by a quarter than the one in docs/performance.md. `--record` writes
those that are better than the recorded ones into that file.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import pkgutil
import sys
from collections.abc import Iterator, Sequence

from tests import bench
from tests.bench import history
from tests.bench.figure import Figure, Unavailable

PLUMBING = {"__main__", "figure", "history"}
SHORT_RUNS = 3


def main(arguments: Sequence[str]) -> int:
    known = sorted(m.name for m in pkgutil.iter_modules(bench.__path__) if m.name not in PLUMBING)
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=f"benchmarks: {', '.join(known)}")
    parser.add_argument("--short", action="store_true", help="what CI runs: less, against the recorded figures")
    parser.add_argument("--record", action="store_true", help="write the figures that are better than recorded ones")
    parser.add_argument("names", nargs="*", metavar="BENCHMARK")
    args = parser.parse_args(arguments)
    unknown = set(args.names) - set(known)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    figures = list(_measured(args.names or known, short=args.short))
    found = history.best(figures)
    text = history.FILE.read_text()
    behind = history.worse(found, history.recorded(text)) if args.short else []
    if args.record and args.short:
        history.FILE.write_text(history.replaced(text, found, datetime.date.today()))
    for line in behind:
        print(f"WORSE {line}")
    return 1 if behind or (not args.short and not all(figure.ok for figure in figures)) else 0


def _measured(names: Sequence[str], *, short: bool) -> Iterator[Figure]:
    for name in names:
        module = importlib.import_module(f"tests.bench.{name}")
        try:
            found: list[Figure] = module.figures(short=short)
            if short and not all(figure.wall_time for figure in found):
                for _ in range(SHORT_RUNS - 1):
                    found += [figure for figure in module.figures(short=True) if not figure.wall_time]
        except Unavailable as reason:
            print(f"--   {name:<36} not measured: {reason}", flush=True)
            continue
        for figure in found:
            print(figure, flush=True)
        yield from found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
