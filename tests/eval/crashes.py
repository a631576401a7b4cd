"""The crash test of leases (`tests.lease_crashes`) as one part of the evaluation."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from runtime.errors import PytopError
from tests.eval.results import KILLS, Crashes, Results

ROOT: Final = Path(__file__).parents[2]
SHORT_KILLS: Final = 10
_SUMMARY: Final = re.compile(r"^(?P<kills>\d+) kills \(.*: (?P<wrong>\d+) wrong$", re.MULTILINE)
_WRONG: Final = re.compile(r"^seed \d+, .* killed: .*$", re.MULTILINE)


async def evaluate(results: Results, show: Callable[[str], None], *, short: bool, seed: int) -> None:
    """Kill the program, its keeper and both at random moments; what was wrong is in the results."""
    kills = SHORT_KILLS if short else KILLS
    show(f"leases: {kills} kills")
    command = (sys.executable, "-m", "tests.lease_crashes", "--count", str(kills), "--seed", str(seed))
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        await process.wait()  # it removes what it has made
        raise
    results.crashes = parse(output.decode())
    show(f"leases: {len(results.crashes.wrong)} wrong after {results.crashes.kills} kills")


def parse(output: str) -> Crashes:
    """What the crash test has printed."""
    summary = _SUMMARY.search(output)
    if summary is None:
        raise PytopError("run the crash test of leases", detail=output.strip()[-400:] or "it has printed nothing")
    wrong = tuple(_WRONG.findall(output))
    if bool(wrong) != bool(int(summary["wrong"])):
        raise PytopError("read what the crash test of leases printed", detail=summary[0])
    return Crashes(int(summary["kills"]), wrong)
