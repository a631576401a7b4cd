"""`python -m tests.injection`: lives of containers, each with one fault at the kernel seam; see `--help`.

First lives are recorded without a fault, which gives the sites. Then each site fails once per error that fits, and its
process is killed before the call and after it. After each, two other programs look at once, the container is used and
removed by a third, and the instance by a fourth: nothing may be left.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.injection import faults, seam
from tests.injection.harness import NOT_MET, Case, Harness
from tests.injection.known import KNOWN, why_accepted


def cases_of(harness: Harness) -> list[Case]:
    """Every case: of a life with a warm zygote without network and with the bridge, and of starting a zygote."""
    found: list[Case] = []
    had: set[seam.Site] = set()
    for network, warm in (("none", True), ("bridge", True), ("none", False)):
        sites = dict.fromkeys(harness.record(network, warm=warm) + harness.record(network, warm=warm))
        for site in sites:
            if site not in had:
                had.add(site)
                found += [Case(network, warm, site, fault) for fault in faults.faults_of(site.kind)]
    return found


def drawn(cases: list[Case], seed: str) -> list[Case]:
    """All of them in an order drawn by the seed, one of each kind that was bad once first."""
    shuffled = sorted(cases, key=str)
    random.Random(seed).shuffle(shuffled)
    known = [next((case for case in shuffled if part in str(case)), None) for part in KNOWN]
    return list(dict.fromkeys((*filter(None, known), *shuffled)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.injection", description=__doc__)
    parser.add_argument("--seconds", type=float, help="end after about so long (default: all cases)")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="draws the order")
    parser.add_argument("--only", default="", help="only cases with this text in what --list prints")
    parser.add_argument("--list", action="store_true", help="print the cases and make none")
    options = parser.parse_args()
    import pyroute2  # noqa: F401  (once, for all children)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what there is, is removed then too
    laid = seam.lay()
    with tempfile.TemporaryDirectory(prefix="pytop-inject-") as folder:
        harness = Harness(laid, Path(folder))
        cases = [case for case in drawn(cases_of(harness), options.seed) if options.only in str(case)]
        sites = Counter(site.role for site in {case.site for case in cases if case.site is not None})
        print(f"seed {options.seed}; sites: {sum(sites.values())} {dict(sorted(sites.items()))}; cases: {len(cases)}")
        if options.list:
            print(*cases, sep="\n")
            return 0
        bad = _run(harness, cases, time.monotonic() + options.seconds if options.seconds else None)
    return 1 if bad else 0


def _run(harness: Harness, cases: list[Case], deadline: float | None) -> int:
    made: Counter[str] = Counter()
    for case in cases:
        if deadline is not None and time.monotonic() > deadline:
            break
        problems = harness.run(case)
        reason = why_accepted(case, problems)
        missed = problems == [NOT_MET]
        made["not met" if missed else "kills" if case.fault in faults.KILLS else "faults"] += 1
        if problems and not missed:
            made["accepted" if reason else "bad"] += 1
            print(f"{'accepted (' + reason + ')' if reason else 'BAD'}: {case}", *problems, sep="\n    ", flush=True)
    print("; ".join(f"{what}: {made[what]}" for what in ("faults", "kills", "not met", "accepted", "bad")))
    return made["bad"]


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("needs root")
    sys.exit(main())
