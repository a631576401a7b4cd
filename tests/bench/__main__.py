"""`make bench`: run every benchmark (or those named), print one line per figure, exit 1 when one is over its bound.

A benchmark is a module of this package with a function `figures()`. It raises `Unavailable` when what it
compares with is not on this machine; that is printed, never counted as a pass.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

from tests.bench.figure import Figure, Unavailable

PLUMBING = {"__main__", "figure"}


def main(names: list[str]) -> int:
    import tests.bench

    known = sorted(m.name for m in pkgutil.iter_modules(tests.bench.__path__) if m.name not in PLUMBING)
    unknown = set(names) - set(known)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    over = 0
    for name in names or known:
        try:
            figures: list[Figure] = importlib.import_module(f"tests.bench.{name}").figures()
        except Unavailable as reason:
            print(f"--   {name:<34} not measured: {reason}")
            continue
        for figure in figures:
            print(figure, flush=True)
            over += not figure.ok
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
