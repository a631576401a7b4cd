"""`python -m tests.injection.by_strace`: faults at random in system calls of a real client and of all that it starts.

strace(1) is attached to a client before its first verb and follows what that starts: the zygote, executed as ever,
shims, inits and the program. A call by number fails in each of these processes at its N-th time, or the process is
killed there; which call, how, and N are drawn by a seed. What is wrong afterwards is judged as in `tests.injection`, so
a fault that this finds and that one does not is a hole in its seam.
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
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.engines.embedded.config import EmbeddedConfig
from tests.injection import life, seam
from tests.injection.harness import Case, Harness, Told, heard

CALLS: Final = {
    "openat": "EMFILE ENOMEM EIO",
    "openat2": "EMFILE ENOMEM EINTR",
    "write": "ENOSPC EIO EINTR",
    "pwrite64": "ENOSPC EIO EINTR",
    "fsync": "EIO ENOSPC EINTR",
    "fdatasync": "EIO",
    "rename": "ENOSPC EROFS EIO",
    "mkdir": "ENOSPC EROFS ENOMEM",
    "mkdirat": "ENOSPC",
    "mknodat": "ENOSPC EROFS",
    "unlink": "EIO EROFS",
    "unlinkat": "EIO EROFS",
    "rmdir": "EBUSY",
    "getdents64": "EIO",
    "fallocate": "ENOSPC EINTR",
    "ftruncate": "EIO EINTR",
    "pipe2": "EMFILE ENFILE",
    "clone3": "EAGAIN ENOMEM",
    "clone": "EAGAIN ENOMEM",
    "vfork": "EAGAIN ENOMEM",
    "socket": "EMFILE ENOMEM",
    "socketpair": "EMFILE ENOMEM",
    "connect": "EAGAIN",
    "accept4": "EMFILE ENOMEM",
    "bind": "EADDRINUSE",
    "sendto": "EINTR",  # asyncio's own wake-up is one, and is lost for good where it gives another error
    "flock": "ENOLCK EINTR",
    "pidfd_open": "EMFILE ENOMEM",
    "unshare": "ENOMEM ENOSPC",
    "setns": "ENOMEM",
    "mount": "ENOMEM",
    "umount2": "EBUSY",
    "open_tree": "EMFILE ENOMEM",
    "move_mount": "ENOMEM",
    "fsopen": "EMFILE",
    "fsconfig": "ENOMEM",
    "fsmount": "EMFILE",
    "mount_setattr": "ENOMEM",
    "pivot_root": "EBUSY",
    "inotify_init1": "EMFILE",
    "inotify_add_watch": "ENOSPC",
    "memfd_create": "EMFILE",
    "sendfile": "EIO EINTR",
    "tee": "ENOMEM EINTR",
    "fchown": "EROFS",
    "setxattr": "ENOSPC",
    "bpf": "ENOMEM",
    "keyctl": "EDQUOT",
    "execve": "ENOMEM",
    "close_range": "ENOMEM",
    "poll": "EINTR",
    "wait4": "EINTR",
}
KILL: Final = "KILL"
_MAX_NUMBER: Final = {"openat": 150, "write": 40, "unlinkat": 20, "mkdir": 40, "rmdir": 20, "getdents64": 40}
_FEW: Final = 8
_ATTACH_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Injection:
    """A system call, what it gives ("KILL": its process is killed as it is made), and at which time in a process."""

    call: str
    fault: str
    number: int

    def expression(self) -> str:
        what = "signal=SIGKILL" if self.fault == KILL else f"error={self.fault}"
        return f"inject={self.call}:{what}:when={self.number}"


def parse(text: str) -> Injection:
    """As `--inject` has it: CALL:FAULT:NUMBER."""
    call, fault, number = text.split(":")
    return Injection(call, fault, int(number))


def draw(dice: random.Random) -> Injection:
    call = dice.choice(list(CALLS))
    fault = dice.choice([*CALLS[call].split(), KILL])
    return Injection(call, fault, dice.randint(1, _MAX_NUMBER.get(call, _FEW)))


class StraceHarness(Harness):
    """Lives with an injection each."""

    def trace(self, injection: Injection, network: str) -> tuple[int, list[str]]:
        """How often the fault was made, in whichever process, and what is wrong afterwards."""
        self.seam.shared.clear()
        config = self.new_config()
        config.state.parent.mkdir(parents=True)
        log = config.state.parent / "strace.log"
        try:
            told = self._traced(injection, network, config, log)
            made = log.read_text(errors="replace").count("(INJECTED)") + _killed(log, injection)
            problems = _wrong(injection, told)
            site = seam.Site(seam.SHIM, injection.call, injection.call, ())
            log.unlink()
            return made, problems + self.aftermath(Case(network, False, site, injection.fault), config, told)
        finally:
            self.clean(config)

    def _traced(self, injection: Injection, network: str, config: EmbeddedConfig, log: Path) -> Told:
        gate, opener = os.pipe()

        async def client(say: life.Say) -> None:
            os.close(opener)
            os.read(gate, 1)
            os.close(gate)
            await life.lead(config, network, say, lambda: None)

        started = self.child(client)
        os.close(gate)
        what = ("-e", f"trace={injection.call}", "-e", injection.expression())
        command = ["strace", "-f", "-o", str(log), *what, "-p", str(started[0])]
        strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert strace.stderr is not None
        try:
            deadline = time.monotonic() + _ATTACH_TIMEOUT_S
            while "attached" not in strace.stderr.readline():
                if time.monotonic() > deadline or strace.poll() is not None:
                    raise AssertionError("strace cannot be attached")
            os.close(opener)
            return heard(started)
        finally:
            strace.send_signal(signal.SIGTERM)  # it lets go of what it follows
            strace.communicate()


def _killed(log: Path, injection: Injection) -> int:
    if injection.fault != KILL:
        return 0
    return log.read_text(errors="replace").count("+++ killed by SIGKILL")


def _wrong(injection: Injection, told: Told) -> list[str]:
    problems = [f"{told.last('failed', '')}: {wrong}" for wrong in told.values("wrong")]
    if told.status == -signal.SIGKILL and injection.fault == KILL:
        return problems
    if told.status:
        problems.append(f"the client ended with {told.status}")
    if told.last("descriptors"):
        problems.append(f"descriptors are left open: {told.last('descriptors')}")
    return problems


def replay(injections: list[Injection], network: str) -> int:
    """Make these faults, one life each; 1 when something is wrong afterwards, or one was never made."""
    bad = 0
    with tempfile.TemporaryDirectory(prefix="pytop-strace-") as folder:
        harness = StraceHarness(seam.Seam(), Path(folder))
        for injection in injections:
            made, problems = harness.trace(injection, network)
            problems += [] if made else ["the fault was never made"]
            bad += bool(problems)
            print(f"{injection.expression()} network {network}: {made} times", *problems, sep="\n    ", flush=True)
    return 1 if bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.injection.by_strace", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="so many lives in which a fault was made")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after about so long")
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--inject", type=parse, action="append", metavar="CALL:FAULT:N", help="these, none drawn")
    parser.add_argument("--network", choices=("none", "bridge"), default="none", help="of those of --inject")
    options = parser.parse_args()
    import pyroute2  # noqa: F401  (once, for all children)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.inject:
        return replay(options.inject, options.network)
    print(f"seed {options.seed}", flush=True)
    dice, counts, deadline = random.Random(options.seed), Counter[str](), time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory(prefix="pytop-strace-") as folder:
        harness = StraceHarness(seam.Seam(), Path(folder))
        while counts["lives"] < options.count and time.monotonic() < deadline:
            injection, network = draw(dice), dice.choice(("none", "none", "bridge"))
            made, problems = harness.trace(injection, network)
            counts["lives"] += bool(made)
            counts["lives without the call"] += not made
            counts["kills" if injection.fault == KILL else "faults"] += made
            if problems:
                counts["bad"] += 1
                print(f"BAD: {injection.expression()} network {network}", *problems, sep="\n    ", flush=True)
    print(
        "; ".join(f"{what}: {counts[what]}" for what in ("lives", "lives without the call", "faults", "kills", "bad"))
    )
    return 1 if counts["bad"] else 0


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("needs root")
    sys.exit(main())
