"""`python -m tests.lease_crashes --count 200 --seed S`: kill -9 of the program, the keeper, both, at random moments.

Each round has a program that takes leases of real cgroups: some on one another, some renewed, some frozen, some whose
limit somebody else changes meanwhile. Then it is killed, or its keeper, or both at once. What must hold, by reading the
kernel's files past the code under test:

* the program killed: every limit is back 1 s after the lease's time at the latest;
* the keeper killed: a new one lives within 2 s, and every limit is back 1 s after the lease's time or after that;
* both killed: the next command puts back everything before it does anything else;
* what somebody else has written stays, and the lease says so.

As root. Prints each lease that is wrong, and the number of them; exit status 1 when there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from runtime.containment import keeper_process, leases
from runtime.kernel import cgroupfs, cgroups, run_directory
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import ContainerRef, LimitChange

ROOT: Final = Path(__file__).parents[1]
BACK_S: Final = 1.0
"""After the time of a lease."""
KEEPER_S: Final = 2.0
"""Until a keeper that was killed is there again."""
CONTAINERS: Final = 3
MIN_LEASE_S: Final = 0.3
MAX_LEASE_S: Final = 3.5
FOREIGN_PIDS: Final = "77"
FILES: Final = {
    "cpu": (
        ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares", "cpu.idle"),
        ("cpu.max", "cpu.weight", "cpu.idle"),
    ),
    "memory": (("memory.limit_in_bytes", "memory.soft_limit_in_bytes"), ("memory.max", "memory.high", "memory.low")),
    "pids": (("pids.max",), ("pids.max",)),
}
SETTLE: Final = """
import sys
from pathlib import Path
from runtime.kernel import run_directory
run_directory.use(Path(sys.argv[1]))
from runtime.containment.ending import settle_abandoned
print(settle_abandoned())
"""
CHANGES: Final = (
    {"cpus": 0.4},
    {"cpus": 0.015},
    {"cpu_idle": True},
    {"cpu_shares": 77},
    {"memory": 64 << 20, "memory_reservation": 16 << 20},
    {"pids": 50},
    {"cpus": 0.3, "pids": 60, "cpu_idle": True},
)


def read(cgroup: Cgroup) -> dict[str, str]:
    """The limit files as they are, and whether it is frozen."""
    found: dict[str, str] = {"frozen": str(cgroups.is_frozen(cgroup))}
    for controller, by_version in FILES.items():
        where = cgroup.where(controller)
        assert where is not None
        directory, version = where
        for name in by_version[version - 1]:
            with suppress(FileNotFoundError):
                found[name] = (directory / name).read_text().strip()
    return found


# the program that takes leases


async def program(names: list[str], seed: int) -> None:
    """Take leases, renew some, until it is killed; each line of its output is a lease."""
    choose = random.Random(seed)
    hierarchies = cgroupfs.detect()
    watching = asyncio.create_task(leases.keep_keeper())
    print("ready", flush=True)
    taken: list[str] = []
    for _ in range(choose.randint(3, 8)):
        name = choose.choice(names)
        cgroup = cgroups.create(hierarchies, name)
        change = LimitChange(**choose.choice(CHANGES))  # type: ignore[arg-type]
        freeze = choose.random() < 0.2
        seconds = choose.uniform(MIN_LEASE_S, MAX_LEASE_S)
        try:
            lease, outcome = await leases.take(
                ContainerRef("test", name.rpartition("/")[2]),
                name,
                cgroup,
                change,
                pid=None,
                seconds=seconds,
                freeze=freeze and not cgroups.is_frozen(cgroup),
                force=True,
            )
        except leases.PytopError as error:
            print(f"refused {error}", flush=True)
            continue
        print(f"lease {lease.id} {outcome.ok} {outcome.error}", flush=True)
        taken.append(lease.id)
        if choose.random() < 0.3:
            with suppress(leases.PytopError):
                await leases.renew(choose.choice(taken), MAX_LEASE_S)
        if choose.random() < 0.2:
            with suppress(leases.PytopError):
                await leases.revert(choose.choice(taken))
        await asyncio.sleep(choose.uniform(0, 0.15))
    await watching


# one round


@dataclass(slots=True)
class Round:
    """What came of one kill."""

    seed: int
    what: str
    wrong: list[str] = field(default_factory=list)
    leases: int = 0
    conflicts: int = 0
    keeper_s: float | None = None


@contextmanager
def containers(choose: random.Random) -> Iterator[dict[str, Cgroup]]:
    """Cgroups with limits of their own."""
    hierarchies, top = cgroupfs.detect(), f"pytopl{secrets.token_hex(3)}"
    made: dict[str, Cgroup] = {}
    try:
        for number in range(CONTAINERS):
            name = f"{top}/{number}"
            made[name] = cgroups.create(hierarchies, name)
            where = made[name].where("pids")
            assert where is not None
            (where[0] / "pids.max").write_text(choose.choice(("max", "500")))
        yield made
    finally:
        for cgroup in made.values():
            with suppress(leases.PytopError):
                cgroups.thaw(cgroup)
        cgroups.remove(cgroups.create(hierarchies, top))


def one_round(seed: int) -> Round:
    """Have a program take leases, kill, wait as long as is allowed, compare."""
    choose = random.Random(seed)
    result = Round(seed, choose.choice(("program", "keeper", "both")))
    with containers(choose) as made, tempfile.TemporaryDirectory(prefix="pytop-leases-", dir="/dev/shm") as folder:
        run = Path(folder) / "run"
        run.mkdir(0o700)
        before = {name: read(cgroup) for name, cgroup in made.items()}
        environ = {**os.environ, "PYTOP_STATE_DIR": folder}
        command = [sys.executable, "-m", "tests.lease_crashes", "--program", str(run), str(seed), *made]
        started = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "ready\n"
            time.sleep(choose.uniform(0, 1.5))
            foreign = _write_foreign(choose, made)
            killed = _kill(result.what, run, started)
            _await(result, run, before, made, foreign, killed)
        finally:
            started.kill()
            started.communicate()
            end_keeper(run)
    return result


def _write_foreign(choose: random.Random, made: dict[str, Cgroup]) -> str | None:
    """Somebody else changes a limit, sometimes; the name of that container."""
    if choose.random() > 0.25:
        return None
    name = choose.choice(sorted(made))
    where = made[name].where("pids")
    assert where is not None
    (where[0] / "pids.max").write_text(FOREIGN_PIDS)
    return name


def _keeper(run: Path) -> int | None:
    try:
        pid = int((run / "keeper").read_text())
        return pid if Path(f"/proc/{pid}/comm").read_text().strip() == keeper_process.PROCESS_NAME else None
    except (OSError, ValueError):
        return None


def _kill(what: str, run: Path, started: subprocess.Popen[str]) -> float:
    keeper = _keeper(run)
    if what in ("program", "both"):
        started.kill()
    if what in ("keeper", "both") and keeper is not None:
        with suppress(ProcessLookupError):
            os.kill(keeper, signal.SIGKILL)
    if what in ("program", "both"):
        started.wait()
    if what == "both":  # one that the program had just started, too
        end_keeper(run)
        time.sleep(0.05)
        end_keeper(run)
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _await(
    result: Round,
    run: Path,
    before: dict[str, dict[str, str]],
    made: dict[str, Cgroup],
    foreign: str | None,
    killed: float,
) -> None:
    if result.what == "both" or (result.what == "program" and not _starting(run)):
        subprocess.run([sys.executable, "-c", SETTLE, str(run)], cwd=ROOT, check=True, capture_output=True)
        result.wrong += _differences(before, made, foreign)
    elif result.what == "keeper":
        documents = _documents(run)
        if any(not each["ended_ns"] and each["expires_ns"] > (killed + KEEPER_S) * 1e9 for each in documents):
            while (pid := _keeper(run)) is None and time.clock_gettime(time.CLOCK_BOOTTIME) < killed + KEEPER_S:
                time.sleep(0.01)
            result.keeper_s = time.clock_gettime(time.CLOCK_BOOTTIME) - killed
            if pid is None:
                result.wrong.append("no keeper came")
        # the program goes on; its last lease is over at some time
        _until(lambda: _late(run, killed + KEEPER_S, before, made), result)
    else:
        _until(lambda: _late(run, 0, before, made), result)
    if result.what != "both":
        result.wrong += _differences(before, made, foreign)
    documents = _documents(run)
    result.leases = len(documents)
    result.conflicts = sum(each["state"] == "conflict" for each in documents)


def _starting(run: Path) -> bool:
    """Whether a keeper lives, or is on its way: the program was killed before it had started one, and wrote nothing."""
    return bool(keepers(run))


def _documents(run: Path) -> list[dict[str, Any]]:
    found = []
    for path in run.glob("lease-*"):
        with suppress(OSError, ValueError):
            found.append(json.loads(path.read_text()))
    return found


def _late(
    run: Path, not_before_s: float, before: dict[str, dict[str, str]], made: dict[str, Cgroup]
) -> tuple[bool, list[str]]:
    """Whether no lease holds any more, and those that are late; not one that was noted and never written."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    active = [each for each in _documents(run) if not each["ended_ns"]]
    late = [
        f"{each['id']} is {now - each['expires_ns'] / 1e9:.2f} s late"
        for each in active
        if now > max(each["expires_ns"] / 1e9, not_before_s) + BACK_S
        and read(made[each["name"]]) != before[each["name"]]
    ]
    return not active, late


def _until(look: Callable[[], tuple[bool, list[str]]], result: Round) -> None:
    quiet_since: float | None = None
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, late = look()
        if late:
            result.wrong += late
            return
        quiet_since = (quiet_since or time.monotonic()) if done else None
        if quiet_since is not None and time.monotonic() - quiet_since > 0.6:  # longer than the program's pauses
            return
        time.sleep(0.02)
    result.wrong.append("leases hold for ever")


def _differences(before: dict[str, dict[str, str]], made: dict[str, Cgroup], foreign: str | None) -> list[str]:
    wrong = []
    for name, cgroup in made.items():
        now = read(cgroup)
        for file, text in before[name].items():
            if now[file] != text and not (name == foreign and file == "pids.max"):
                wrong.append(f"{name} {file} holds {now[file]}, not {text}")
        if name == foreign and now["pids.max"] not in (FOREIGN_PIDS, before[name]["pids.max"]):
            wrong.append(f"{name} pids.max holds {now['pids.max']}, not what somebody else wrote")
    return wrong


def keepers(run: Path) -> list[int]:
    """The processes that are a keeper of this run directory, or become one."""
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if os.fsencode(run) in words and b"-I" in words:
                found.append(pid)
    return found


def end_keeper(run: Path) -> None:
    """SIGKILL for them."""
    for pid in keepers(run):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def remove_cgroup_of_keepers() -> None:
    """It is empty once no keeper lives; a user's own may be in it."""
    hierarchies = cgroupfs.detect()
    mounts = (*hierarchies.v1.values(), *hierarchies.others, hierarchies.unified)
    for path in {mount.path / keeper_process.CGROUP for mount in mounts if mount is not None}:
        with suppress(OSError):
            path.rmdir()


def rounds(count: int, seed: int, jobs: int) -> list[Round]:
    """So many kills, some at once."""
    with ThreadPoolExecutor(jobs) as pool:
        found = list(pool.map(one_round, range(seed, seed + count)))
    time.sleep(0.2)
    remove_cgroup_of_keepers()
    return found


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--program"]:
        run_directory.use(Path(arguments[1]))
        asyncio.run(program(arguments[3:], int(arguments[2])))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args(arguments)
    found = rounds(args.count, args.seed, args.jobs)
    for each in found:
        for words in each.wrong:
            print(f"seed {each.seed}, {each.what} killed: {words}")
    by = {what: sum(each.what == what for each in found) for what in ("program", "keeper", "both")}
    wrong = sum(bool(each.wrong) for each in found)
    late = max((each.keeper_s for each in found if each.keeper_s is not None), default=0.0)
    print(
        f"{len(found)} kills ({', '.join(f'{number} of {what}' for what, number in by.items())}),"
        f" {sum(each.leases for each in found)} leases, {sum(each.conflicts for each in found)} conflicts,"
        f" slowest new keeper {late:.2f} s, seed {args.seed}: {wrong} wrong"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
