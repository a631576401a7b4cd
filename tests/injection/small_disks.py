"""`python -m tests.injection.small_disks`: the state's, the run directory's, the logs' disk is full during each verb.

Each of them is a small tmpfs of its own. It is filled to the last byte before one verb of a life, and has room again
after it. What is wrong afterwards is judged as in `tests.injection`.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.injection import life, seam
from tests.injection.harness import DISK, Case, Harness, heard, wrong_with_client

DISKS: Final = ("state", "run", "log")
VERBS: Final = tuple(verb for verb in life.VERBS if verb != "list")
OUTPUT_S: Final = 0.2
"""How long a program prints into a full log before that is followed."""
_SIZE: Final = "4m"


def fill(disk: Path) -> None:
    with (disk / "filler").open("ab", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"x" * 4096)


class DiskHarness(Harness):
    """Lives during a verb of which a disk is full; `refused` counts those that ended there, with an error in words."""

    refused = 0

    def full(self, name: str, full_in: str) -> list[str]:
        config = self.new_config()
        place = config.state.parent
        disk = place / "disk"
        disk.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=700", DISK, str(disk)], check=True)
        try:
            if name == "log":
                config.state.mkdir(mode=0o700)
                (disk / "data").mkdir(mode=0o700)
                (config.state / "data").symlink_to(disk / "data")
            else:
                config = replace(config, **{name: disk / name})

            @contextmanager
            def around(verb: str) -> Iterator[None]:
                if verb == full_in:
                    fill(disk)
                    if verb == "log":
                        time.sleep(OUTPUT_S)
                        (disk / "filler").unlink()
                try:
                    yield
                finally:
                    (disk / "filler").unlink(missing_ok=True)

            case = Case("none", False)
            told = heard(self.child(lambda say: life.lead(config, case.network, say, lambda: None, around)))
            self.refused += bool(told.values("failed"))
            problems = wrong_with_client(replace(case, fault="a full disk"), told)
            problems += self.aftermath(case, config, told)
            if name == "log" and os.listdir(disk / "data"):
                problems.append(f"left on the disk: {os.listdir(disk / 'data')}")
            return problems
        finally:
            self.clean(config)
            subprocess.run(["umount", "-l", str(disk)], check=True)
            self.clean(replace(config, state=place / "state", run=place / "run"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.injection.small_disks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after about so long")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="draws the order")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    cases = [(disk, verb) for disk in DISKS for verb in VERBS]
    random.Random(options.seed).shuffle(cases)
    made, bad, deadline = 0, 0, time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory(prefix="pytop-disks-") as folder:
        harness = DiskHarness(seam.Seam(), Path(folder))
        for disk, verb in cases:
            if time.monotonic() > deadline:
                break
            problems, made = harness.full(disk, verb), made + 1
            if problems:
                bad += 1
                print(f"BAD: the disk of {disk} is full during {verb}", *problems, sep="\n    ", flush=True)
    print(f"seed {options.seed}; full disks: {made} of {len(cases)}; refused: {harness.refused}; bad: {bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("needs root")
    sys.exit(main())
