"""What the private daemons of tests share: started until they answer, killed, ended by pid, gone with the block.

Each has a directory, a network namespace and a cgroup of its own; what is left of these is removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, TypeVar

from runtime.errors import PytopError
from runtime.kernel import cgroupfs, cgroups
from tests.conftest import missing, need_root
from tests.waiting import wait_until

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
LOG_TAIL = 2000  # characters


class Daemon(ABC):
    """A daemon in `folder`; it can be killed and started again. `name` is that of its network namespace and cgroup."""

    ENGINE: ClassVar[str]
    """What PYTOP_REQUIRE calls it."""
    PREFIX: ClassVar[str]
    NEEDS: ClassVar[tuple[str, ...]]
    """Programs without which its tests are skipped."""
    LEAVES: ClassVar[tuple[str, ...]]
    """How the names of the programs begin that it starts and may leave behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"{self.PREFIX}{uuid.uuid4().hex[:6]}"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def server(self) -> list[str]:
        """The command line of the daemon."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it can be asked now."""

    @property
    def environ(self) -> dict[str, str]:
        return dict(os.environ)

    def in_netns(self, *words: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.name}", *words]

    def start(self) -> None:
        """Start it and wait until it answers; the end of its log is in the failure."""
        with (self.folder / "log").open("ab") as log:
            process = self._process = subprocess.Popen(
                self.server(), env=self.environ, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )

        def up() -> bool:
            assert process.poll() is None, f"{self.ENGINE} ended with {process.returncode}:\n{self._log()}"
            return self.answers()

        wait_until(up, START_TIMEOUT_S, lambda: f"{self.ENGINE} answers:\n{self._log()}", every_s=0.05)

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def prepare(self) -> None:
        """Make what must be there before it is started the first time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["ip", "netns", "add", self.name], check=True, timeout=10)
        subprocess.run(self.in_netns("ip", "link", "set", "lo", "up"), check=True, timeout=10)

    def clean(self) -> None:
        """End it and remove what it has left: processes, cgroups, mounts, the network namespace, the directory."""
        self.stop()
        _kill_left(self.LEAVES, self.folder)
        _remove_cgroups(self.name)
        unmount_below(str(self.folder))
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False, timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-LOG_TAIL:]


D = TypeVar("D", bound=Daemon)


@contextlib.contextmanager
def running(daemon: D) -> Iterator[D]:
    """Run it in its directory, which must not exist or be empty."""
    need_root(daemon.ENGINE)
    for program in (*daemon.NEEDS, "nsenter", "ip"):
        if shutil.which(program) is None:
            missing(daemon.ENGINE, f"{program} is not installed")
    try:
        daemon.prepare()
        daemon.start()
        yield daemon
    finally:
        daemon.clean()


def pinged(socket: Path) -> bool:
    """Whether an HTTP API on a Unix socket answers as Docker's does."""
    asked = subprocess.run(
        ["curl", "-s", "--max-time", "2", "--unix-socket", str(socket), "http://docker/_ping"],
        capture_output=True,
        check=False,
    )
    return asked.stdout == b"OK"


def unmount_below(*points: str) -> None:
    """Whatever is mounted at or below these paths, last first."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if line.split()[4].startswith(points):
            subprocess.run(["umount", "-l", line.split()[4]], capture_output=True, check=False)


def _kill_left(programs: tuple[str, ...], folder: Path) -> None:
    """Processes of these programs that name the directory in their command line; `python -m` is a test or the app."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            ours = Path(os.fsdecode(words[0])).name.startswith(programs) and words[1:2] != [b"-m"]
            if ours and any(os.fsencode(folder) in word for word in words):
                os.kill(int(entry.name), signal.SIGKILL)


def _remove_cgroups(name: str) -> None:
    """A cgroup with all below it, in every hierarchy."""
    with contextlib.suppress(PytopError):
        top = cgroups.create(cgroupfs.detect(), name)
        cgroups.kill_all(top)
        cgroups.remove(top)
    for left in Path("/sys/fs/cgroup").glob(f"*/{name}"):  # named hierarchies, which have no controller
        for directory, _, _ in os.walk(left, topdown=False):
            with contextlib.suppress(OSError):
                Path(directory).rmdir()
