"""A cgroup of a test's own, and programs in cgroups below it; all of it is gone after the block."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.kernel import cgroupfs, cgroups
from runtime.kernel.cgroupfs import Cgroup
from tests.conftest import need_root
from tests.waiting import wait_until


class Place:
    """`name` is the cgroup's path without the slash in front; what is in `started` is killed and waited for."""

    def __init__(self) -> None:
        self.name = f"pytopf{secrets.token_hex(3)}"
        self.started: list[subprocess.Popen[Any]] = []

    def make(self, name: str) -> Cgroup:
        """A cgroup in here."""
        return cgroups.create(cgroupfs.detect(), f"{self.name}/{name}")

    def run(self, *command: str, **options: Any) -> subprocess.Popen[Any]:
        """A program that ends with the block; it is in no cgroup in here yet."""
        given: Mapping[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL} | options
        process = subprocess.Popen(command, **given)
        self.started.append(process)
        return process

    def enter(self, name: str, *command: str) -> tuple[Cgroup, subprocess.Popen[Any]]:
        """A program in a cgroup in here."""
        cgroup, process = self.make(name), self.run(*command)
        cgroups.attach(cgroup, process.pid)
        return cgroup, process


@contextmanager
def place() -> Iterator[Place]:
    need_root("embedded")
    made = Place()
    top = cgroups.create(cgroupfs.detect(), made.name)
    try:
        yield made
    finally:
        for process in made.started:
            process.kill()
        cgroups.thaw(top)
        for process in made.started:
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()
        cgroups.kill_all(top)
        cgroups.remove(top)
        for left in Path("/sys/fs/cgroup").glob(f"*/{made.name}"):  # named hierarchies, which runc fills too
            _remove(left)


def _remove(directory: Path) -> None:
    for each in directory.iterdir():
        if each.is_dir():
            _remove(each)
    wait_until(lambda: not (directory / "cgroup.procs").read_text(), 5, f"{directory} is empty")
    directory.rmdir()


def file(cgroup: Cgroup, controller: str, v1: str, v2: str) -> str:
    """The first word in the file of a limit."""
    where = cgroup.where(controller)
    assert where is not None
    return (where[0] / (v1 if where[1] == 1 else v2)).read_text().split()[0]
