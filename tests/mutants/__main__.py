"""`make mutants`: draw mutants by a printed seed, try each, list those that survive; 1 when too many do.

    make mutants ARGS="--count 40 --seed 7 collectors/sampling"

A mutant is found when a test that needs no root fails with it. Those that cannot be found, as they do the same, stand
in `tests/mutants/equivalent.py` with the reason.
"""

from __future__ import annotations

import argparse
import os
import queue
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants import equivalent
from tests.mutants.mutations import Mutant, draw, files
from tests.mutants.trial import Contexts, Tree, coverage

COUNT = 400
FOUND_AT_LEAST = 0.9


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make mutants ARGS=...", description="wrong programs, and who finds them")
    parser.add_argument("--count", type=int, default=COUNT, help=f"how many to draw ({COUNT})")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="draws the same ones again")
    parser.add_argument("paths", nargs="*", metavar="PATH", help="only files below these")
    args = parser.parse_args(arguments)
    paths = [path for path in files() if not args.paths or path.startswith(tuple(args.paths))]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pytop-mutants-") as folder:
        print(
            f"seed {args.seed}: {args.count} mutants of {len(paths)} files; the tests run once without one", flush=True
        )
        data, failed = coverage(Path(folder))
        for test in sorted(failed):
            print(f"left out, since it fails without a mutant: {test}", flush=True)
        contexts = Contexts(data, failed, paths)
        mutants = draw(args.count, args.seed, paths)
        survivors = _try(mutants, contexts, Path(folder))
    _report(mutants, survivors, time.monotonic() - begun)
    counted = [mutant for mutant in mutants if mutant.key not in equivalent.REASONS]
    lost = [mutant for mutant in survivors if mutant.key not in equivalent.REASONS]
    share = 1 - len(lost) / max(1, len(counted))
    found = len(counted) - len(lost)
    print(f"{found} of {len(counted)} found, {share:.1%}, at least {FOUND_AT_LEAST:.0%} (seed {args.seed})")
    return 0 if share >= FOUND_AT_LEAST else 1


def _try(mutants: Sequence[Mutant], contexts: Contexts, folder: Path) -> list[Mutant]:
    """The survivors."""
    workers = os.cpu_count() or 1
    trees: queue.Queue[Tree] = queue.Queue()
    for number in range(workers):
        trees.put(Tree(folder / f"tree{number}"))

    def survives(mutant: Mutant) -> bool:
        tests = contexts.of(mutant)
        tree = trees.get()
        try:
            return not tests or not tree.found(mutant, tests)
        finally:
            trees.put(tree)

    with ThreadPoolExecutor(workers) as pool:
        results = []
        for mutant, lives in zip(mutants, pool.map(survives, mutants), strict=True):
            results.append(lives)
            if lives:
                print(f"survives: {mutant.path}:{mutant.line}\n{mutant.diff}", flush=True)
    return [mutant for mutant, lives in zip(mutants, results, strict=True) if lives]


def _report(mutants: Sequence[Mutant], survivors: Sequence[Mutant], seconds: float) -> None:
    print(f"\n{len(mutants)} mutants in {seconds:.0f} s")
    all_of, lost_of = (Counter(mutant.package for mutant in group) for group in (mutants, survivors))
    for package, count in sorted(all_of.items()):
        print(f"  {package:<24} {count - lost_of[package]:>4} of {count} found")
    for mutant in survivors:
        reason = equivalent.REASONS.get(mutant.key)
        if reason is not None:
            print(f"equivalent: {mutant.path}:{mutant.line}: {reason}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
