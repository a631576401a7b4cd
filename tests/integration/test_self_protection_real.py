"""The program as a process of a container's cgroup, on each engine that it drives: it neither freezes nor ends itself.

Looked for in the same way: found containers (`test_found_kinds_real.py`), groups and reclaiming
(`tests/unit/core/test_groups.py`, `test_session_shrink.py`).
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.docker.engine import DockerEngine
from runtime.kernel import cgroupfs, cgroups, own_cgroup, procfs
from runtime.kernel.cgroupfs import Cgroup
from tests.containerdd import containerdd
from tests.dockerd import busybox_rootfs, dockerd
from tests.integration.program import Program, program
from tests.integration.test_cli_containerd import bring_image
from tests.podmand import podmand
from tui.cli import exits

IDLE = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done")
ENTER = 'for d; do shift; test "$d" = -- && break; echo $$ >"$d/cgroup.procs"; done; exec "$@"'
VERBS = (("pause", "self"), ("kill", "self"), ("update", "--pids-limit", "99", "self"))
"""The others go the same way (`tests/unit/core/test_operations.py`)."""
TIMEOUT_S = 30


@contextmanager
def embedded(_: Path) -> Iterator[Program]:
    with program() as made:
        yield made


@contextmanager
def docker(folder: Path) -> Iterator[Program]:
    with dockerd(folder) as daemon, program(DOCKER_HOST=daemon.url) as made:
        asyncio.run(_import(daemon.url))
        yield made


async def _import(url: str) -> None:
    engine = DockerEngine(Endpoint(url, "the test"))
    try:
        await engine.import_image("busybox:latest", busybox_rootfs())
    finally:
        await engine.close()


@contextmanager
def podman(folder: Path) -> Iterator[Program]:
    with podmand(folder) as service, program(CONTAINER_HOST=service.url) as made:
        yield made


@contextmanager
def containerd(folder: Path) -> Iterator[Program]:
    with containerdd(folder) as daemon:
        asyncio.run(bring_image(daemon))
        with program(CONTAINERD_ADDRESS=str(daemon.socket), CONTAINERD_NAMESPACE=daemon.name) as made:
            yield made


Engine = Callable[[Path], AbstractContextManager[Program]]
IMAGES: Mapping[str, tuple[Engine, str]] = {
    "embedded": (embedded, "host"),
    "docker": (docker, "busybox:latest"),
    "podman": (podman, "busybox:latest"),
    "containerd": (containerd, "busybox"),
}


def inside(made: Program, cgroup: Cgroup, *words: str) -> tuple[int, str]:
    """The exit code and stderr of the program as a process of this cgroup; it is thawed when it freezes itself."""
    process = subprocess.Popen(
        ["sh", "-c", ENTER, "sh", *map(str, cgroup.directories), "--", sys.executable, "-m", "tui", *words],
        env=made.env,
        cwd=made.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, said = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        cgroups.thaw(cgroup)
        process.kill()
        process.communicate()
        pytest.fail(f"{words}: it has frozen itself")
    return process.returncode, said


@pytest.mark.parametrize("key", IMAGES)
def test_a_program_in_a_container_does_nothing_to_that_container_that_would_hit_itself(key: str) -> None:
    engine, image = IMAGES[key]
    with tempfile.TemporaryDirectory(prefix="pts-") as folder, engine(Path(folder)) as made:
        made("run", "-d", "--engine", key, "--name", "self", "--network", "none", image, *IDLE)
        pid = made.container("self")["pid"]
        born, cgroup = procfs.start_time(pid), own_cgroup.locate(cgroupfs.detect(), pid)
        try:
            for words in VERBS:
                code, said = inside(made, cgroup, *words)
                assert (code, "this program runs in there" in said) == (exits.REFUSED, True), (words, code, said)
                assert not cgroups.is_frozen(cgroup), words
                assert procfs.start_time(pid) == born, words
            made("pause", "self")
            assert cgroups.is_frozen(cgroup)
            made("unpause", "self")
        finally:
            made("rm", "-f", "self")
