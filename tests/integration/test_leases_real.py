"""Leases on real cgroups with a real keeper: kill -9, cgroup.kill of the session, a full run directory, a conflict."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.containment import audit, ending, holder, keeper, keeper_lock, keeper_process, leases, store
from runtime.containment.lease import LeaseState
from runtime.errors import KernelError
from runtime.kernel import cgroups, run_directory
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import ContainerRef, LimitChange
from tests import lease_crashes
from tests.conftest import need_root
from tests.integration.place import Place, file, place
from tests.loops import cycles
from tests.sshd import sshd
from tests.waiting import until, wait_until

ROOT = Path(__file__).parents[2]
REF = ContainerRef("test", "c1" * 32)
TAKE = """
import asyncio, sys, time
from pathlib import Path
from runtime.kernel import cgroupfs, cgroups, run_directory
run_directory.use(Path(sys.argv[1]))
from runtime.containment import leases
from runtime.model import ContainerRef, LimitChange

async def main():
    cgroup = cgroups.create(cgroupfs.detect(), sys.argv[2])
    lease, outcome = await leases.take(
        ContainerRef("test", "c1" * 32), "hog", cgroup, LimitChange(pids=50), pid=None, seconds=float(sys.argv[3])
    )
    assert outcome.ok, outcome
    print(lease.expires_ns, flush=True)
    sys.stdin.readline()

asyncio.run(main())
"""


@pytest.fixture
def made() -> Iterator[Place]:
    with place() as found:
        yield found


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    need_root("embedded")
    directory = tmp_path / "run"
    directory.mkdir(0o700)
    monkeypatch.setattr(run_directory, "candidates", lambda *_: (directory,))
    monkeypatch.setenv("PYTOP_STATE_DIR", str(tmp_path / "state"))
    yield directory
    lease_crashes.end_keeper(directory)
    wait_until(lambda: not keeper_lock.is_held(), 5, "the keeper has ended")
    lease_crashes.remove_cgroup_of_keepers()


def pids(cgroup: Cgroup) -> str:
    return file(cgroup, "pids", "pids.max", "pids.max")


def begin(run: Path, name: str, seconds: float, **options: object) -> tuple[subprocess.Popen[str], float]:
    """A program that holds a lease; when that is over, in seconds of CLOCK_BOOTTIME."""
    started: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
        [sys.executable, "-c", TAKE, str(run), name, str(seconds)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )
    assert started.stdout is not None
    return started, int(started.stdout.readline()) / 1e9


def wait_back(cgroup: Cgroup, expires_s: float, before: str = "max") -> None:
    while pids(cgroup) != before:
        assert time.clock_gettime(time.CLOCK_BOOTTIME) < expires_s + 1, "it is not back 1 s after its time"
        time.sleep(0.01)


def test_a_lease_of_a_program_that_was_killed_is_back_within_a_second_of_its_time(made: Place, run: Path) -> None:
    cgroup = made.make("hog")
    started, expires_s = begin(run, f"{made.name}/hog", 1.5)
    started.kill()
    started.communicate()
    assert pids(cgroup) == "50"
    assert not ending.settle_abandoned(), "the keeper watches it"
    wait_back(cgroup, expires_s)
    wait_until(lambda: not _active(), 2, "its end is noted")
    (lease,) = store.read_all()
    assert lease.state is LeaseState.REVERTED
    wait_until(lambda: all(each.outcome for each in audit.read(lease=lease.id)), 2, "its end is recorded")
    actions = [(entry.action, entry.outcome) for entry in audit.read(lease=lease.id)]
    assert actions == [(audit.LEASE, audit.OK), (audit.TAKE_BACK, audit.OK)], "the keeper's too"


def test_the_keeper_lives_apart_from_the_program_and_is_small(made: Place, run: Path) -> None:
    made.make("hog")
    session = made.make("session")
    started, _ = begin(
        run, f"{made.name}/hog", 60, preexec_fn=lambda: cgroups.attach(session, os.getpid()), start_new_session=True
    )
    pid = keeper_lock.pid()
    assert pid is not None
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        assert line.endswith(f":/{keeper_process.CGROUP}"), "of every hierarchy"
    assert os.getsid(pid) == pid
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)
    assert ignored >> (signal.SIGHUP - 1) & 1
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    pss_kb = int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1])
    assert pss_kb < 24 * 1024
    started.kill()
    started.communicate()


def test_the_keeper_survives_cgroup_kill_and_hangup_of_the_session(made: Place, run: Path) -> None:
    cgroup, session = made.make("hog"), made.make("session")
    started, expires_s = begin(
        run, f"{made.name}/hog", 2, preexec_fn=lambda: cgroups.attach(session, os.getpid()), start_new_session=True
    )
    os.killpg(started.pid, signal.SIGHUP)
    cgroups.kill_all(session)
    assert started.wait(5) < 0
    started.communicate()
    assert pids(cgroup) == "50"
    assert keeper_lock.is_held()
    wait_back(cgroup, expires_s)


def test_the_keeper_survives_a_cut_line_of_ssh(made: Place, run: Path, tmp_path: Path) -> None:
    """The client is killed, as a network that breaks does; the server hangs up the terminal of the program."""
    cgroup = made.make("hog")
    script = tmp_path / "take.py"
    script.write_text(TAKE)
    remote = f"cd {ROOT}; PYTHONPATH={ROOT} PYTOP_STATE_DIR={tmp_path} "
    remote += f"exec {sys.executable} {script} {run} {made.name}/hog 3"
    with sshd(tmp_path) as words:
        client = subprocess.Popen([*words, remote], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert client.stdout is not None
        expires_s = int(client.stdout.readline()) / 1e9
        (lease,) = store.read_all()
        assert lease.holder.ssh.startswith("127.0.0.1 "), "whence it was taken"
        client.kill()
        client.communicate()
        wait_until(lambda: not holder.is_alive(lease.holder), 5, "the program has ended with its terminal")
        assert pids(cgroup) == "50"
        wait_back(cgroup, expires_s)


async def test_a_keeper_that_was_killed_is_back_within_two_seconds(made: Place) -> None:
    cgroup = made.make("hog")
    watching = asyncio.create_task(leases.keep_keeper())
    _, outcome = await leases.take(REF, "hog", cgroup, LimitChange(pids=50), pid=None, seconds=3)
    assert outcome.ok
    pid = keeper_lock.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: keeper_lock.pid() not in (None, pid), 2, "there is another keeper")
    watching.cancel()
    await until(lambda: pids(cgroup) == "max", 4.5, "the lease is taken back")


def test_after_both_were_killed_the_next_command_puts_back_first(made: Place, run: Path) -> None:
    cgroup = made.make("hog")
    started, _ = begin(run, f"{made.name}/hog", 600)
    lease_crashes.end_keeper(run)
    wait_until(lambda: not keeper_lock.is_held(), 5, "the keeper has ended")
    assert ending.settle_abandoned() == [], "the program that holds it lives"
    started.kill()
    started.communicate()
    code = "import sys; from pathlib import Path; from runtime.kernel import run_directory as r;"
    code += f"r.use(Path({str(run)!r})); from tui.__main__ import main; sys.exit(main(['boot', '--print']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"ended the lease of hog by process {started.pid} of user 0: reverted" in done.stderr
    assert pids(cgroup) == "max"
    again = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "lease" not in again.stderr


async def test_what_somebody_else_has_written_stays(made: Place) -> None:
    cgroup = made.make("hog")
    lease, _ = await leases.take(REF, "hog", cgroup, LimitChange(pids=50, cpus=0.5), pid=None, seconds=1)
    where = cgroup.where("pids")
    assert where is not None
    (where[0] / "pids.max").write_text("77")
    await until(lambda: not _active(), 3, "the lease has ended")
    (ended,) = leases.read_all()
    assert ended.state is LeaseState.CONFLICT
    assert "pids is 77 by somebody else, not 50" in ended.result
    assert pids(cgroup) == "77"
    assert leases.store.read(lease.id) == ended


def _active() -> bool:
    return any(lease.active for lease in store.read_all())


async def test_a_frozen_container_is_thawed_by_the_keeper(made: Place) -> None:
    cgroup, process = made.enter("hog", "sleep", "60")
    await leases.take(REF, "hog", cgroup, LimitChange(), pid=None, seconds=1, freeze=True)
    assert cgroups.is_frozen(cgroup)
    await until(lambda: not cgroups.is_frozen(cgroup), 2.5, "it is thawed")
    process.kill()


async def test_a_full_run_directory_changes_nothing_and_loses_nothing(made: Place, run: Path) -> None:
    """A tmpfs of 64 KiB as the run directory, that fills up before a lease, and while one holds."""
    cgroup = made.make("hog")
    mount(run)
    try:
        lease, outcome = await leases.take(REF, "hog", cgroup, LimitChange(pids=50), pid=None, seconds=3)
        assert outcome.ok
        fill(run)
        with pytest.raises(KernelError, match="No space"):
            await leases.take(REF, "hog", cgroup, LimitChange(cpus=0.5), pid=None, seconds=60)
        with pytest.raises(KernelError, match="No space"):
            await leases.renew(lease.id, 60)
        assert file(cgroup, "cpu", "cpu.cfs_quota_us", "cpu.max") in ("-1", "max")
        await until(lambda: pids(cgroup) == "max", 4.5, "the keeper takes it back at its first time")
        await until(lambda: not _active(), 2, "its file is gone")
    finally:
        lease_crashes.end_keeper(run)
        wait_until(lambda: not keeper_lock.is_held(), 5, "the keeper has ended")
        audit.why_not_on_disk()
        unmount(run)


def mount(run: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", str(run)], check=True)


def unmount(run: Path) -> None:
    subprocess.run(["umount", "--lazy", str(run)], check=True)


def fill(run: Path) -> None:
    with suppress(OSError), (run / "filler").open("wb", buffering=0) as full:
        while full.write(b"x" * 4096):
            pass


async def test_a_keeper_ends_when_there_is_nothing_to_keep(monkeypatch: pytest.MonkeyPatch, made: Place) -> None:
    """In a thread, with a short time: the real one waits a minute."""
    cgroup = made.make("hog")

    async def none() -> str:
        return ""

    monkeypatch.setattr(keeper, "ensure", none)
    await leases.take(REF, "hog", cgroup, LimitChange(pids=50), pid=None, seconds=0.5)
    began = time.monotonic()
    await asyncio.to_thread(keeper_process.run, idle_s=0.5)
    assert time.monotonic() - began > 0.9
    assert pids(cgroup) == "max"
    assert not keeper_lock.is_held()


@pytest.mark.long
def test_no_lease_is_wrong_after_kills_at_random_moments() -> None:
    found = lease_crashes.rounds(cycles(200), seed=int(os.environ.get("PYTOP_SEED", "1")), jobs=4)
    assert [(each.seed, each.what, each.wrong) for each in found if each.wrong] == []


def test_the_seconds_that_are_promised() -> None:
    assert (lease_crashes.BACK_S, lease_crashes.KEEPER_S) == (1.0, 2.0)
    assert keeper.WATCH_INTERVAL_S < lease_crashes.KEEPER_S
    assert keeper_process.MAX_SLEEP_S < lease_crashes.BACK_S
