"""Two versions of the program on one instance: what one has started, the other goes on with.

The other version is a commit of this repository's history, unpacked into a directory and run as a program of its own.
"""

from __future__ import annotations

import io
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from runtime.engines.embedded.networks import bridge
from tests.conftest import missing
from tests.integration.embedded import name_of, named, processes_of
from tests.integration.program import ROOT, Program
from tests.integration.program import program as program_of_its_own
from tests.waiting import wait_until

pytestmark = pytest.mark.root

OLD = "35170488ca226967f22695e23e6f3a26ef80e9fc"
"""The last commit before modules were moved into folders: it imports other names, and its zygote's socket has no
version. Later versions that change what is on disk or on a socket may be added beside it."""
OLD_CODE, NEW_CODE = b"runtime.native.zygote", b"runtime.engines.embedded.process.zygote"
COUNT = "i=0; until [ -e /gate/open ]; do echo $i; i=$((i+1)); sleep 0.02; done; exit 9"
END = "until [ -e /gate/open ]; do sleep 0.02; done; echo late; echo last words >&2; exit 42"


@pytest.fixture(scope="module")
def archive() -> bytes:
    """The old version's tree as a tar file."""
    git = shutil.which("git")
    if git is None:
        missing("history", "git is not installed")
    done = subprocess.run([git, "-C", str(ROOT), "archive", OLD], capture_output=True, check=False)
    if done.returncode:
        missing("history", f"commit {OLD[:12]} is not here: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def unpack(archive: bytes, into: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(into, filter="data")
    return into


@pytest.fixture
def new() -> Iterator[Program]:
    with program_of_its_own() as made:
        yield made


@pytest.fixture
def old(new: Program, archive: bytes, tmp_path: Path) -> Program:
    """The old version on the same instance."""
    return replace(new, root=unpack(archive, tmp_path / "old"))


def run(program: Program, name: str, *words: str, script: str = "exec sleep 1000", network: str = "none") -> None:
    program("run", "-d", "--name", name, "--network", network, *words, "host", "sh", "-c", script)


def shim_of(program: Program, name: str) -> int:
    """The pid of a container's shim, as it stands in its lock file."""
    lock = program.where.live(container_id(program, name)) / "shim.lock"
    pid = int(lock.read_text().split()[0])
    assert name_of(pid) == "pytop-shim"
    return pid


def container_id(program: Program, name: str) -> str:
    return str(program.container(name)["id"])


def code_of(pid: int) -> bytes:
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    (found,) = (code for code in (OLD_CODE, NEW_CODE) if code in command)
    return found


def zygotes(program: Program, code: bytes) -> list[int]:
    return [pid for pid in named(program.where, "pytop-zygote") if code_of(pid) == code]


def kill(*pids: int) -> None:
    for pid in pids:
        fd = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda fd=fd: _ended(fd), 15)
        os.close(fd)


def _ended(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def lines(program: Program, name: str, *words: str) -> list[str]:
    return program("logs", *words, name).stdout.splitlines()


def test_every_verb_on_what_the_old_version_has_started(old: Program, new: Program) -> None:
    run(old, "web", "-m", "256m", script="trap 'echo hup' HUP; echo up; while :; do sleep 0.05; done")
    before = old.container("web")
    wait_until(lambda: lines(old, "web") == ["up"], 15)

    after = new.container("web")
    assert (after["state"], after["pid"], after["id"]) == ("running", before["pid"], before["id"])
    assert json.loads(new("inspect", "web").stdout)
    assert new("stats", "--once", "web").stdout.count("\n") == 2
    new("update", "web", "-m", "128m", "--pids-limit", "77")
    assert new.file("web", ("memory", "memory.limit_in_bytes"), "memory.max") == str(128 << 20)
    assert new.file("web", ("pids", "pids.max"), "pids.max") == "77"

    new("pause", "web")
    assert new.container("web")["state"] == "paused"
    new("unpause", "web")
    assert new.container("web")["state"] == "running"
    following = new.begin("logs", "-f", "web")
    try:
        assert following.stdout is not None
        assert following.stdout.readline() == "up\n"
        new("kill", "-s", "HUP", "web")
        assert following.stdout.readline() == "hup\n"
    finally:
        following.kill()
        following.communicate()
    assert code_of(shim_of(new, "web")) == OLD_CODE, "it is looked after by the version that has started it"

    new("restart", "-t", "0.1", "web")
    again = new.container("web")
    assert (again["state"], again["pid"] != before["pid"]) == ("running", True)
    assert code_of(shim_of(new, "web")) == NEW_CODE
    assert new.file("web", ("memory", "memory.limit_in_bytes"), "memory.max") == str(128 << 20), "from the old record"
    new("stop", "-t", "0.1", "web")
    new("start", "web")
    wait_until(lambda: lines(new, "web") == ["up", "hup", "up", "up"], 15)
    refused = new("rm", "web", code=1)
    assert "running" in refused.stderr
    new("kill", "-s", "KILL", "web")
    assert new("wait", "web", code=137).stdout.strip() == "137"
    new("rm", "web")
    assert new("ps", "-aq").stdout == old("ps", "-aq").stdout == ""


def test_stop_and_removal_by_force_under_the_old_shim(old: Program, new: Program) -> None:
    run(old, "stopped", script="trap 'echo bye; exit 5' TERM; while :; do sleep 0.05; done", network="bridge")
    run(old, "forced", network="bridge")
    ids = {name: container_id(new, name) for name in ("stopped", "forced")}
    links = {name: bridge.interface_name(new.where.bridge, ids[name]) for name in ids}
    assert set(links.values()) <= set(os.listdir("/sys/class/net"))
    assert new.container("stopped")["addresses"]
    new("stop", "stopped")
    ended = new.container("stopped")
    assert (ended["state"], ended["exit_code"]) == ("exited", 5)
    assert lines(new, "stopped") == ["bye"]
    new("rm", "-f", "forced")
    new("rm", "stopped")
    assert not set(links.values()) & set(os.listdir("/sys/class/net"))
    for each in ids.values():
        assert not new.where.live(each).exists()
        assert not new.where.data(each).exists()


def test_what_is_new_runs_on_the_new_code_and_the_old_zygote_ends(old: Program, new: Program) -> None:
    run(old, "first")
    (zygote,), shim = zygotes(old, OLD_CODE), shim_of(old, "first")
    run(new, "second")
    assert code_of(shim_of(new, "second")) == NEW_CODE
    wait_until(lambda: zygote not in processes_of(new.where), 5)
    assert len(zygotes(new, NEW_CODE)) == 1
    assert shim_of(new, "first") == shim
    assert new.container("first")["state"] == "running"
    run(old, "third")  # a program of before that is still running
    assert code_of(shim_of(old, "third")) == OLD_CODE
    assert {each["name"] for each in json.loads(new("ps", "--json").stdout)} == {"first", "second", "third"}


def test_restart_policies_and_automatic_removal_under_the_old_shim(old: Program, new: Program) -> None:
    run(old, "again", "--restart", "on-failure:2", script="echo turn; sleep 0.2; exit 6")
    run(old, "passing", "--rm", script="sleep 0.5")
    run(old, "waiting", "--restart", "always", script="exit 1")
    assert new("wait", "again", code=6).stdout.strip() == "6"
    assert lines(new, "again") == ["turn"] * 3
    wait_until(
        lambda: [each["name"] for each in json.loads(new("ps", "-a", "--json").stdout)].count("passing") == 0, 15
    )
    wait_until(
        lambda: json.loads(new("inspect", "waiting").stdout)[0]["restarts"] >= 5, 15
    )  # the pauses are seconds by now
    new("stop", "waiting")
    assert new.container("waiting")["state"] == "exited"
    wait_until(lambda: "pytop-shim" not in {name_of(pid) for pid in processes_of(new.where)}, 15)


@dataclass(frozen=True, slots=True)
class Gate:
    """A directory that containers have as /gate; what waits for it goes on when it is opened."""

    path: Path

    @property
    def words(self) -> tuple[str, str]:
        return ("-v", f"{self.path}:/gate:ro")

    def open(self) -> None:
        (self.path / "open").touch()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    (tmp_path / "gate").mkdir()
    return Gate(tmp_path / "gate")


def end_without_shims(program: Program, gate: Gate, *names: str) -> None:
    """Kill the shims of containers, let these end, and wait until their inits have written their status."""
    live = [program.where.live(container_id(program, name)) for name in names]  # a look replaces a killed shim
    kill(*(int((each / "shim.lock").read_text().split()[0]) for each in live))
    gate.open()
    for each in live:
        wait_until(lambda status=each / "exit": b"\n" in status.read_bytes(), 15)


def check_ends(program: Program) -> None:
    """Nothing of "counting" and "ending" is lost or repeated."""
    assert program("wait", "ending", code=42).stdout.strip() == "42"
    assert lines(program, "ending") == ["late"]
    assert program("logs", "ending").stderr == "last words\n"
    counted = lines(program, "counting", "-f")
    assert counted == [str(i) for i in range(len(counted))]
    assert len(counted) > 5
    assert program("wait", "counting", code=9).stdout.strip() == "9"


@pytest.mark.parametrize("with_zygote", [False, True])
def test_a_killed_old_shim_loses_nothing(old: Program, new: Program, gate: Gate, with_zygote: bool) -> None:
    run(old, "counting", *gate.words, script=COUNT)
    run(old, "ending", *gate.words, script=END)
    pid = new.container("counting")["pid"]
    kill(shim_of(new, "counting"), *(zygotes(new, OLD_CODE) if with_zygote else []))
    assert new.container("counting")["pid"] == pid
    wait_until(lambda: code_of(shim_of(new, "counting")) == NEW_CODE, 15)
    end_without_shims(new, gate, "ending")
    check_ends(new)


def test_an_upgrade_in_place(old: Program, new: Program) -> None:
    """The old version's files are gone while its zygote and its shims run."""
    run(old, "going")
    run(old, "ending", script="sleep 1; echo end; exit 4")
    run(old, "again", "--restart", "on-failure:1", script="sleep 0.5; exit 6")
    (zygote,) = zygotes(old, OLD_CODE)
    shutil.rmtree(old.root)
    assert new.container("going")["state"] == "running"
    assert new("wait", "ending", code=4).stdout.strip() == "4"
    assert lines(new, "ending") == ["end"]
    assert new("wait", "again", code=6).stdout.strip() == "6"
    run(new, "fresh")
    wait_until(lambda: zygote not in processes_of(new.where), 5)
    new("rm", "-f", "going", "ending", "again", "fresh")


def test_an_old_zygote_that_cannot_fork_any_more_is_ended(old: Program, new: Program) -> None:
    """Its code is gone, and the process that it had ready is used up: it would try, and log that, for ever."""
    run(old, "going")
    (zygote,) = zygotes(old, OLD_CODE)
    wait_until(lambda: named(old.where, "pytop-spare"), 15)
    shutil.rmtree(old.root)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        directory = os.open(new.where.run, os.O_PATH)
        connection.connect(f"/proc/self/fd/{directory}/zygote.sock")
        os.close(directory)
        connection.send(json.dumps({"op": "attach", "id": "f" * 64, "network": False}).encode())
        connection.settimeout(10)
        connection.recv(65536)
    wait_until(lambda: b"ImportError" in (new.where.run / "zygote.log").read_bytes(), 15)
    begun = time.monotonic()
    run(new, "fresh")
    assert time.monotonic() - begun < 10
    wait_until(lambda: zygote not in processes_of(new.where), 5)
    assert new.container("going")["state"] == new.container("fresh")["state"] == "running"


def test_back_to_the_old_version(old: Program, new: Program, gate: Gate) -> None:
    run(new, "web", "-m", "256m", script="trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done")
    run(new, "kept", network="bridge")
    run(new, "counting", *gate.words, script=COUNT)
    run(new, "ending", *gate.words, script=END)
    pid = new.container("web")["pid"]
    assert (old.container("web")["state"], old.container("web")["pid"]) == ("running", pid)
    old("update", "web", "-m", "128m")
    assert old.file("web", ("memory", "memory.limit_in_bytes"), "memory.max") == str(128 << 20)
    old("pause", "web")
    old("unpause", "web")
    old("stop", "web")
    assert old.container("web")["exit_code"] == 5
    assert lines(old, "web") == ["up", "bye"]

    end_without_shims(new, gate, "counting", "ending")
    check_ends(old)
    old("rm", "web", "ending", "counting")
    assert new.container("kept")["state"] == "running"
    old("rm", "-f", "kept")
    assert new("ps", "-aq").stdout == ""
