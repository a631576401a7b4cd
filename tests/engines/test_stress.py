"""Every engine under stress: its daemon killed, a thousand containers made and removed, two clients, odd text."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import redirect_stdout
from pathlib import Path

import psutil
import pytest

from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.protocol import Engine
from runtime.errors import PytopError
from runtime.model import LimitChange, LimitOutcome, State
from tests import loops
from tests.containerdd import Containerdd
from tests.dockerd import Dockerd
from tests.engines.subject import Subject
from tests.engines.test_follow import session_of
from tests.engines.test_limits import quota, size
from tests.fake_engine import FakeEngine
from tests.podmand import PARENT, Podmand
from tests.waiting import until
from tui.cli import diagnostics, listing, output

MB = 1024 * 1024
AT_ONCE = 8
CYCLES = loops.cycles(1000)
STARTED = 50  # every so many are started too, which costs Docker 0.3 s of computing and Podman more than a second


# the daemon is killed


def plumbing(engine: EmbeddedEngine) -> list[psutil.Process]:
    """The embedded engine's zygote, known by the instance's configuration in its command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "name"]):
        words = " ".join(process.info["cmdline"] or ())
        if str(engine.config.run) in words and process.info["name"] == "pytop-zygote":
            found.append(process)
    return found


async def die(subject: Subject) -> None:
    """kill -9 of what the engine's containers are made by."""
    if isinstance(subject.engine, EmbeddedEngine):
        killed = plumbing(subject.engine)
        assert killed, "there is no zygote"
        for process in killed:
            process.kill()
        _, alive = await asyncio.to_thread(psutil.wait_procs, killed, 5)
        assert not alive
        return
    assert subject.daemon is not None
    await asyncio.to_thread(subject.daemon.kill)


async def test_the_daemon_is_killed_and_comes_back(
    subject: Subject, other_client: Callable[[], Awaitable[Engine]]
) -> None:
    """Unknown meanwhile (the embedded engine has no daemon: unharmed), then as before, followed and changed again.

    Docker ends containers of a daemon that has died when the next one starts, and starts those that are to be always
    up: for it the container is a new process, for the others the same one.
    """
    ref = await subject.run(restart_policy="always")
    pid = await subject.pid(ref)
    async with session_of(await other_client()) as session:
        assert session.containers[ref].state is State.RUNNING
        await die(subject)
        if subject.daemon is None:
            await asyncio.sleep(1)
            assert session.containers[ref].state is State.RUNNING
            assert not session.problems
        else:
            try:
                await until(lambda: session.containers[ref].state is State.UNKNOWN, 10, "it is shown as unknown")
                assert session.problems
                with pytest.raises(PytopError):
                    await session.update(ref, LimitChange(pids=50))
            finally:
                await asyncio.to_thread(subject.daemon.start)
        await until(lambda: session.containers[ref].state is State.RUNNING, 40, "it is shown as running")
        assert not session.problems
        if not isinstance(subject.daemon, Dockerd):
            assert await subject.pid(ref) == pid
        made = await subject.create("true", name="after-it")
        await until(lambda: made in session.containers, 1, "events are followed again")
        await subject.engine.remove(made.id)
        await until(lambda: made not in session.containers, 1, "events are followed again")
        outcome = await session.update(ref, LimitChange(cpus=0.3, memory=96 * MB, pids=66))
        assert outcome.ok, outcome
        assert await quota(subject, ref) == pytest.approx(0.3)
        assert await size(subject, ref, "memory.limit_in_bytes", "memory.max") == 96 * MB
        assert await size(subject, ref, "pids.max", "pids.max") == 66


# a thousand


class Left:
    """What may be left behind: of our process, in the kernel, and in the engine's folders. Never of other tests."""

    def __init__(self, subject: Subject) -> None:
        self._daemon = subject.daemon
        self._folders: tuple[Path, ...] = ()
        self._mark: str | None = None
        self._us = psutil.Process()
        if isinstance(subject.engine, FakeEngine):
            return
        if isinstance(subject.engine, EmbeddedEngine):
            config = subject.engine.config
            self._folders, self._mark = (config.state, config.run), str(config.state.parent)
            self._cgroups = config.cgroup
            self._links = ["ip", "-o", "link", "show", "master", config.bridge]
        else:
            assert isinstance(subject.daemon, Dockerd | Podmand | Containerdd)
            self._mark = str(subject.daemon.folder)
            self._cgroups = PARENT if isinstance(subject.daemon, Podmand) else subject.daemon.name
            self._links = ["ip", "-n", subject.daemon.name, "-o", "link", "show", "type", "veth"]
            if isinstance(subject.daemon, Containerdd):
                self._folders = (subject.daemon.folder / "logs",)

    def on_the_host(self) -> dict[str, Counter[str]]:
        """Each kind of thing by name, and how many there are of it; the fake has nothing but child processes."""
        if self._mark is None:
            return {"processes": Counter(child.name() for child in self._us.children())}
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        tops = Path("/sys/fs/cgroup").glob(f"*/{self._cgroups}")
        links = subprocess.run(self._links, capture_output=True, text=True, check=False, timeout=10)
        found = {
            "files": [str(path) for folder in self._folders for path in folder.rglob("*")],
            "mounts": [line.split()[4] for line in lines if line.split()[4].startswith(self._mark)],
            "cgroups": [folder for top in tops for folder, _, _ in os.walk(top) if not self._is_anothers(Path(folder))],
            "interfaces": [line.split(":")[1] for line in links.stdout.splitlines()],
            "processes": [
                process.info["name"]
                for process in psutil.process_iter(["name", "cmdline"])
                if any(self._mark in word for word in process.info["cmdline"] or ())
            ],
        }
        if isinstance(self._daemon, Containerdd):  # of which this project makes these by itself
            for what in ("snapshots", "leases"):
                found[what] = self._daemon.ctr(what, "ls").splitlines()
        return {what: Counter(names) for what, names in found.items()}

    def _is_anothers(self, cgroup: Path) -> bool:
        """Whether a container of another Podman runs in it: they share their parent. What is empty may be ours."""
        if not isinstance(self._daemon, Podmand):
            return False
        try:
            pids = (cgroup / "cgroup.procs").read_text().split()
            words = [(Path("/proc") / pid / "mountinfo").read_text() for pid in pids]
        except OSError:
            return False
        return bool(words) and not any(self._mark is not None and self._mark in text for text in words)

    async def nothing_more_than(self, before: dict[str, Counter[str]]) -> None:
        """Shims and daemons tidy up after they have answered, so they have some time."""
        more: dict[str, Counter[str]] = {}

        async def tidied() -> bool:
            nonlocal more
            now = await asyncio.to_thread(self.on_the_host)
            more = {what: now[what] - before[what] for what in before if now[what] - before[what]}
            return not more

        await until(tidied, 10, lambda: f"nothing is left: {more}", every_s=0.2)

    def of_ours(self) -> dict[str, int]:
        gc.collect()
        return {
            "descriptors": self._us.num_fds(),
            "threads": self._us.num_threads(),
            "tasks": len(asyncio.all_tasks()),
            "memory": self._us.memory_info().rss,
        }


async def cycles(subject: Subject, count: int) -> None:
    """Create and remove; every so often one is started in between, with a network where there is one."""
    network = "none" if "network" in (await subject.engine.capabilities()).creation else "bridge"
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with gate:
            if number % STARTED:
                ref = await subject.create("true")
            else:
                ref = await subject.run("sleep 60", network=network)
            await subject.engine.remove(ref.id, force=True)

    await asyncio.gather(*(one(number) for number in range(count)))


@pytest.mark.long
@pytest.mark.timeout(1200)  # Podman takes 0.2 s a cycle, and on a machine that does much else more
async def test_a_thousand_containers_leave_nothing_behind(subject: Subject) -> None:
    """A thousand cycles in the long run, 8 at once.

    What our process holds is compared with what it held when every pool was filled.
    """
    left = Left(subject)
    kept = {container.ref for container in await subject.engine.containers()}
    await cycles(subject, 2 * AT_ONCE)
    host, ours = left.on_the_host(), left.of_ours()
    await cycles(subject, CYCLES)
    assert {container.ref for container in await subject.engine.containers()} == kept
    await left.nothing_more_than(host)
    after = left.of_ours()
    assert after["descriptors"] <= ours["descriptors"] + AT_ONCE
    assert after["threads"] <= ours["threads"] + 2 * AT_ONCE
    assert after["tasks"] <= ours["tasks"]
    assert after["memory"] - ours["memory"] < 16 * MB


# two clients


async def test_changes_by_two_clients_leave_one_of_both_wholly(
    subject: Subject, other_client: Callable[[], Awaitable[Engine]]
) -> None:
    """In the kernel and, where a change is recorded at all, in the engine's record; and the one that won is told so."""
    ref = await subject.run()
    other = await other_client()
    mine, theirs = (LimitChange(cpus=0.4, pids=40), LimitChange(cpus=0.8, pids=80))
    try:
        for _ in range(20):
            answers = await asyncio.wait_for(
                asyncio.gather(
                    subject.engine.update(ref.id, mine), other.update(ref.id, theirs), return_exceptions=True
                ),
                30,
            )
            cpus = await quota(subject, ref)
            pids = await size(subject, ref, "pids.max", "pids.max")
            assert (cpus, pids) in ((pytest.approx(0.4), 40), (pytest.approx(0.8), 80)), (cpus, pids, answers)
            recorded = await subject.engine.recorded(ref.id)
            for answer, number in zip(answers, (40, 80), strict=True):
                assert isinstance(answer, LimitOutcome), answer
                if pids == number:
                    assert answer.ok, f"the kernel holds it and it is told as not done: {answer}"
                    if all(field.persistent for field in answer.fields):
                        assert (recorded.cpus, recorded.pids) == (pytest.approx(cpus), pids), answers
    finally:
        await other.close()


@pytest.mark.parametrize("live", [True, False], ids=["running", "at rest"])
async def test_two_clients_limits_are_both_kept(
    subject: Subject, other_client: Callable[[], Awaitable[Engine]], live: bool
) -> None:
    """One sets CPUs and the other tasks: neither change may be made of what was before the other's."""
    if not live and (await subject.engine.capabilities()).at_rest:
        return
    ref = await (subject.run if live else subject.create)("sleep 60", limits=LimitChange(cpus=1.0, pids=99))
    other = await other_client()
    try:
        for number in range(10):
            mine, theirs = LimitChange(cpus=0.3 + number % 2 / 10), LimitChange(pids=40 + number % 2)
            answers = await asyncio.gather(subject.engine.update(ref.id, mine), other.update(ref.id, theirs))
            recorded = await subject.engine.recorded(ref.id)
            if not live or all(field.persistent for answer in answers for field in answer.fields):
                assert (recorded.cpus, recorded.pids) == (pytest.approx(mine.cpus), theirs.pids), answers
            if live:
                assert all(answer.ok for answer in answers), answers
                assert await quota(subject, ref) == pytest.approx(mine.cpus)
                assert await size(subject, ref, "pids.max", "pids.max") == theirs.pids
    finally:
        await other.close()


# text

WORDS = {
    "team": "Größe/大きさ",
    "emoji": "🐳",
    "arabic": "حاوية",
    "hebrew": "מכולה",
    "escape": "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "lines": "one\ntwo\rthree",
    "turned": "a\u202eb",
}


async def test_escape_sequences_from_outside_do_not_reach_the_terminal(subject: Subject) -> None:
    labels = {**WORDS, "com.docker.compose.project": WORDS["escape"]}
    ref = await subject.create(f"true {WORDS['escape']}{WORDS['turned']}", name="odd.name_1-2", labels=labels)
    assert (await subject.engine.get(ref.id)).labels.items() >= labels.items()
    container = await subject.engine.get(ref.id)
    with redirect_stdout(io.StringIO()) as said:
        output.table(["NAME", "COMMAND"], [listing._row(container, whole=True)])
        for key, value in container.labels.items():
            print(diagnostics.clean(f"{key}={value}"))
    for bad in ("\x1b", "\x07", "\r", "\u202e"):
        assert bad not in said.getvalue()
    for good in ("odd.name_1-2", "Größe/大きさ", "🐳", "حاوية", "מכולה"):
        assert good in said.getvalue()
