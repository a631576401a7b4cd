"""`python -m tests.guest [plain] [systemd]`: boot the guests at once, run their tests, and say what came of each.

Exit status 0 when in each guest no test has failed and something of each that it is to run has passed. `-k EXPRESSION`
and the like after `--` go to pytest; what has passed is not looked at then.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Final
from xml.etree import ElementTree

from tests.guest import initramfs, kernel, machine
from tests.guest.machine import ROOT, Lines
from tests.guest.selection import GUESTS, Guest

DISK: Final = 1500 << 20  # bytes, of which only those that are written take room


def main(words: Sequence[str]) -> int:
    """Boot the guests that are named, or all of them."""
    ours, more = list(words), []
    if "--" in ours:
        ours, more = ours[: ours.index("--")], ours[ours.index("--") + 1 :]
    unknown = [word for word in ours if word not in GUESTS]
    if unknown:
        print(f"no such guest: {', '.join(unknown)}. There are {', '.join(GUESTS)}", file=sys.stderr)
        return 2
    try:
        booted = kernel.have()
        for name in ours or GUESTS:
            kernel.require(GUESTS[name].programs)
    except kernel.NotHereError as error:
        print(error, file=sys.stderr)
        return 2
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with ThreadPoolExecutor() as at_once:
        try:
            runs = [at_once.submit(_run, name, GUESTS[name], booted, more, stop) for name in ours or GUESTS]
            return max(run.result() for run in runs)
        finally:
            stop.set()  # before the pool waits for its threads


def _run(name: str, guest: Guest, booted: kernel.Kernel, more: Sequence[str], stop: Event) -> int:
    """Boot a guest, and once more when it stood still: that has been seen of QEMU without KVM, once in some twenty."""
    lines = Lines(name)
    ended, problem = _booted(guest, booted, more, lines, stop)
    if problem and ended.still:
        lines.add(f"the {name} guest: it stood still after {ended.seconds:.0f} s; once more\n")
        ended, problem = _booted(guest, booted, more, lines, stop)
    lines.add(f"the {name} guest: {problem or 'passed'}, {ended.seconds:.0f} s\n")
    return 1 if problem else 0


def _booted(
    guest: Guest, booted: kernel.Kernel, more: Sequence[str], lines: Lines, stop: Event
) -> tuple[machine.Run, str]:
    with tempfile.TemporaryDirectory(prefix="pytop-guest-", ignore_cleanup_errors=True) as folder:
        results = Path(folder)
        _prepare(results, guest, booted, more)
        script = Path(__file__).with_name(guest.script)
        lines.add(f"Linux {booted.version}, at most {guest.minutes:.0f} minutes\n")
        limit = guest.minutes * 60
        ended = machine.boot(booted, results / "initramfs", results, script, limit=limit, lines=lines, stop=stop)
        return ended, judged(guest, ended, results / "results.xml", whole=not more)


def _prepare(results: Path, guest: Guest, booted: kernel.Kernel, more: Sequence[str]) -> None:
    """Everything that the guest needs of this machine; compiled here, since a guest cannot keep what it compiles."""
    disk = results / "disk.img"
    with disk.open("wb") as image:
        image.truncate(DISK)
    mkfs = shutil.which("mkfs.ext4", path=kernel.search_path()) or "mkfs.ext4"
    subprocess.run([mkfs, "-q", "-F", "-E", "lazy_itable_init=1,nodiscard", disk], check=True, timeout=120)
    initramfs.write(results / "initramfs", booted)
    arguments = [*guest.tests, *(["-k", guest.only] if guest.only else []), *more]
    pytest = [sys.executable, "-m", "pytest", "-p", "no:hypothesispytest", *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run(
        [*pytest, "--collect-only", "-qq"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False
    )
    options = ["-v", "--color=no", "--tb=short", "-o", f"timeout={machine.TEST_SECONDS}", "-o", "junit_family=legacy"]
    command = " ".join(f"'{word}'" for word in [*pytest, *options, "--junitxml=/run/guest/results.xml"])
    (results / "tests.sh").write_text(
        f"cd '{ROOT}'\n"
        f"export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTOP_REQUIRE={guest.require}\n"
        f"{command}\n"
        "echo $? >/run/guest/status\n"
    )


def judged(guest: Guest, ended: machine.Run, report: Path, *, whole: bool) -> str:
    """What is wrong, in words; nothing when all is well."""
    if ended.status is None:
        return "it did not come to an end: its last words are above"
    if ended.status != 0:
        return f"pytest ended with {ended.status}"
    if whole and (without := not_passed(guest, report)):
        return f"nothing has passed of {', '.join(without)}"
    return ""


def not_passed(guest: Guest, report: Path) -> list[str]:
    """Of what the guest is to run, each file and test of which a JUnit report (the legacy kind) has no passed case."""
    passed: set[str] = set()
    for case in ElementTree.parse(report).iter("testcase"):
        if not {child.tag for child in case} & {"failure", "error", "skipped"}:
            file, name = case.attrib["file"], case.attrib["name"].partition("[")[0]
            passed |= {file, f"{file}::{name}"}
    return [test for test in guest.tests if test not in passed]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
