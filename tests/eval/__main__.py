"""`make eval-containment`: labelled scenarios on real containers, detectors beside each other, bounds met or not.

    make eval-containment ARGS="--only cpu-hog --repeats 2 --json found.json"

As root. Ends in 45 minutes on a quiet host of two cores; exit 1 where a bound is not met. `--tune` runs the set on
which thresholds are fixed and writes those of the simple detectors into tests/eval/thresholds.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import os
import secrets
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from runtime.kernel import run_directory
from tests.eval import baselines, benign, containing, crashes, judged, report, tuning
from tests.eval.results import Results, verdicts
from tests.eval.running import evaluate
from tests.eval.scenario import Scenario
from tests.eval.stage import EvalStage, opened
from tests.lease_crashes import end_keeper, remove_cgroup_of_keepers

REPEATS = 5
SHORT = ("cpu-hog", "io-reader", "own-quota", "idle-class", "other-cpus", "outside")
PARTS = ("containment", "crashes")
KEEPER_ENDS_S = 0.2  # after SIGKILL


def main(arguments: Sequence[str]) -> int:
    args = _parser().parse_args(arguments)
    if os.geteuid() != 0:
        print("the evaluation makes containers, cgroups and a loop device: run it as root", file=sys.stderr)
        return 2
    known = {scenario.name: scenario for scenario in (tuning if args.tune else judged).SCENARIOS}
    unknown = set(args.only) - known.keys() - set(PARTS)
    if unknown:
        print(f"no such scenario: {', '.join(sorted(unknown))}", file=sys.stderr)
        print(f"there are: {', '.join((*known, *PARTS))}", file=sys.stderr)
        return 2
    return asyncio.run(_interruptible(args, [known[name] for name in _names(args, known)]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make eval-containment ARGS=...", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help=f"a scenario, {', '.join(PARTS)}")
    parser.add_argument("--short", action="store_true", help="one repeat of some scenarios and of the ladder, for CI")
    parser.add_argument("--repeats", type=int, default=None)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--tune", action="store_true", help="the scenarios on which thresholds are fixed")
    parser.add_argument("--benign", action="store_true", help="an hour of load that hurts nobody, and nothing else")
    parser.add_argument("--benign-minutes", type=float, default=60.0)
    parser.add_argument("--record", type=Path, metavar="DIR", help="write the first repeat of each scenario there")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--write-docs", action="store_true", help="replace the generated part of docs/containment.md")
    return parser


def _names(args: argparse.Namespace, known: dict[str, Scenario]) -> list[str]:
    if args.benign:
        return []
    if args.only:
        return [name for name in args.only if name in known]
    return list(SHORT if args.short and not args.tune else known)


def _parts(args: argparse.Namespace) -> set[str]:
    if args.benign or args.tune:
        return set()
    return set(PARTS) & set(args.only) if args.only else set(PARTS)


async def _interruptible(args: argparse.Namespace, scenarios: list[Scenario]) -> int:
    """Run until it ends, or until a signal: then everything is removed first, whatever further signals come."""
    task = asyncio.create_task(_run(args, scenarios))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: task.cancelling() or task.cancel())
    try:
        return await task
    except asyncio.CancelledError:
        print("interrupted; everything was removed", file=sys.stderr)
        return 130


async def _run(args: argparse.Namespace, scenarios: list[Scenario]) -> int:
    seed = args.seed if args.seed is not None else (tuning if args.tune else judged).SEED
    repeats = args.repeats or (1 if args.short else REPEATS)
    results = Results()
    load, begun = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pytop-eval-") as folder, own_leases(Path(folder)):
        async with opened(Path(folder), secrets.token_hex(3)) as stage:
            await _measure(stage, args, scenarios, results, repeats=repeats, seed=seed)
    minutes = (time.monotonic() - begun) / 60
    found = verdicts(results, seed=seed)
    print(f"\n{report.text(results, found, scenarios)}\n\n{minutes:.1f} minutes, load average {load:.2f} before")
    if args.tune:
        print()
        if results.failures or args.only:
            print("thresholds are written by a whole run alone", file=sys.stderr)
            return 1 if results.failures else 0
        date = datetime.date.today().isoformat()
        baselines.THRESHOLDS_FILE.write_text(report.thresholds(results, seed=seed, repeats=repeats, date=date))
        print(baselines.THRESHOLDS_FILE.read_text())
        return 0
    command = f"make eval-containment ARGS={shlex.quote(shlex.join(sys.argv[1:]))}"
    date = datetime.datetime.now().astimezone().isoformat(timespec="minutes")
    about = report.circumstances(command, date, seed=seed, repeats=repeats, minutes=minutes, load=load)
    if args.json is not None:
        args.json.write_text(report.to_json(results, found, about))
    if args.write_docs:
        page = report.DOCUMENT.read_text()
        report.DOCUMENT.write_text(report.inserted(page, report.document(results, found, about)))
    return 1 if results.failures or any(verdict.met is False for verdict in found) else 0


@contextlib.contextmanager
def own_leases(folder: Path) -> Iterator[None]:
    """Leases and the audit trail of this run alone; the keeper of its leases is ended."""
    run = folder / "leases"
    run.mkdir(mode=0o700)
    run_directory.use(run)
    os.environ["PYTOP_STATE_DIR"] = str(folder / "audit")
    try:
        yield
    finally:
        end_keeper(run)
        time.sleep(KEEPER_ENDS_S)
        remove_cgroup_of_keepers()


async def _measure(
    stage: EvalStage,
    args: argparse.Namespace,
    scenarios: list[Scenario],
    results: Results,
    *,
    repeats: int,
    seed: int,
) -> None:
    def show(line: str) -> None:
        print(line, flush=True)

    if args.benign:
        await benign.watch(stage, results, show, seconds=args.benign_minutes * 60, seed=seed)
    await evaluate(stage, scenarios, results, show, repeats=repeats, seed=seed, record=args.record)
    parts = _parts(args)
    if "containment" in parts:
        await containing.evaluate(stage, results, show, repeats=repeats, seed=seed)
    if "crashes" in parts:
        await crashes.evaluate(results, show, short=args.short, seed=seed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
