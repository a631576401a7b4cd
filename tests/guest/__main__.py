"""`python -m tests.guest [plain] [systemd]`: boot each guest, run its tests in it, and say what came of it.

Exit status 0 when every test that was counted on has passed. `-k EXPRESSION` and the like after `--` go to pytest; the
number of tests is not looked at then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from tests.guest import initramfs, kernel, machine
from tests.guest.machine import ROOT
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
    return max([_run(name, GUESTS[name], booted, more) for name in ours or GUESTS])


def _run(name: str, guest: Guest, booted: kernel.Kernel, more: Sequence[str]) -> int:
    """Boot a guest, and once more when it stood still: that has been seen of QEMU without KVM, once in some twenty."""
    ended, problem = _booted(name, guest, booted, more)
    if problem and ended.still:
        print(f"the {name} guest: it stood still after {ended.seconds:.0f} s; once more", flush=True)
        ended, problem = _booted(name, guest, booted, more)
    print(f"the {name} guest: {problem or 'passed'}, {ended.seconds:.0f} s", flush=True)
    return 1 if problem else 0


def _booted(name: str, guest: Guest, booted: kernel.Kernel, more: Sequence[str]) -> tuple[machine.Run, str]:
    with tempfile.TemporaryDirectory(prefix="pytop-guest-", ignore_cleanup_errors=True) as folder:
        results = Path(folder)
        _prepare(results, guest, booted, more)
        script = Path(__file__).with_name(guest.script)
        print(f"the {name} guest: Linux {booted.version}, at most {guest.minutes:.0f} minutes", flush=True)
        ended = machine.boot(booted, results / "initramfs", results, script, limit=guest.minutes * 60)
        return ended, judged(guest, ended, results / "results.xml", counted=not more)


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


def judged(guest: Guest, ended: machine.Run, report: Path, *, counted: bool) -> str:
    """What is wrong, in words; nothing when all is well."""
    if ended.status is None:
        return "it did not come to an end: its last words are above"
    if ended.status != 0:
        return f"pytest ended with {ended.status}"
    numbers = count(report)
    if counted and numbers["passed"] < guest.passed:
        return f"only {numbers['passed']} tests passed and {numbers['skipped']} were skipped, not {guest.passed}"
    return ""


def count(report: Path) -> Counter[str]:
    """Tests by what came of them, of a JUnit report."""
    found: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        bad = {child.tag for child in case}
        found["failed" if bad & {"failure", "error"} else "skipped" if "skipped" in bad else "passed"] += 1
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
