"""The dashboard in a real terminal: through sshd, without rights, in odd sizes, without a terminal at all."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.kernel import cgroupfs, own_cgroup
from runtime.model import Container, ContainerSpec
from tests import unprivileged
from tests.conftest import need_root
from tests.sshd import sshd
from tests.terminal import ROOT, terminal
from tests.workers import subnet

DASHBOARD = [sys.executable, "-m", "tui"]


@dataclass(frozen=True, slots=True)
class Running:
    """A container of a private embedded engine, and the environment that points the program at that engine."""

    container: Container
    env: dict[str, str]

    def quota(self) -> str:
        """The CPU quota in the kernel's file."""
        assert self.container.pid is not None
        cgroup = own_cgroup.locate(cgroupfs.detect(), self.container.pid)
        where = cgroup.where("cpu")
        assert where is not None
        directory, version = where
        return (directory / ("cpu.cfs_quota_us" if version == 1 else "cpu.max")).read_text().split()[0]


@pytest.fixture
def running() -> Iterator[Running]:
    need_root("embedded")
    folder = Path(tempfile.mkdtemp(prefix="pytop-terminal-"))
    folder.chmod(0o755)
    name = uuid.uuid4().hex[:6]
    config = EmbeddedConfig(
        state=folder / "state",
        run=folder / "run",
        cgroup=f"pytop-test-{name}",
        bridge=f"ptt{name}",
        subnet=subnet(229),
    )

    async def begin() -> Container:
        engine = EmbeddedEngine(config)
        try:
            spec = ContainerSpec("host", ("sh", "-c", "while :; do :; done"), name="busy", network="none")
            ref = await engine.create(spec)
            await engine.start(ref.id)
            return await engine.get(ref.id)
        finally:
            await engine.close()

    async def end() -> None:
        engine = EmbeddedEngine(config)
        await engine.destroy()
        await engine.close()

    env = {
        "PYTOP_STATE_DIR": str(config.state),
        "PYTOP_RUN_DIR": str(config.run),
        "PYTOP_CGROUP": config.cgroup,
        "PYTOP_BRIDGE": config.bridge,
        "PYTOP_SUBNET": config.subnet,
        "PYTOP_FOUND": "0",
        "DOCKER_HOST": "",
        "XDG_CONFIG_HOME": "/nonexistent",
    }
    try:
        yield Running(asyncio.run(begin()), env)
    finally:
        asyncio.run(end())
        shutil.rmtree(folder, ignore_errors=True)


def test_over_ssh_from_the_list_to_the_limit_in_the_kernels_file(running: Running, tmp_path: Path) -> None:
    with sshd(tmp_path) as login:
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in running.env.items())
        remote = f"cd {shlex.quote(str(ROOT))} && env {words} {shlex.join(DASHBOARD)}"
        with terminal([*login, remote], columns=100, rows=30, env={"TERM": "xterm-256color"}) as screen:
            screen.wait_for(r"running +busy")
            assert running.quota() in ("-1", "max")
            screen.type("l")
            screen.wait_for(r"Limits of busy")
            screen.type("0.25")
            time.sleep(0.5)
            screen.send("Enter")
            screen.wait_for(r"busy .*0\.25")
            assert running.quota() == "25000"
            screen.type("q")
            assert screen.status() == 0
    assert running.container.pid is not None
    os.kill(running.container.pid, 0)  # the container outlives the dashboard


def test_read_only_shows_and_refuses(running: Running) -> None:
    with terminal([*DASHBOARD, "--read-only"], columns=100, rows=30, env=running.env) as screen:
        screen.wait_for(r"running +busy")
        assert "READ-ONLY" in screen.screen()
        screen.type("l")
        screen.wait_for(r"--read-only")
        assert "Limits of busy" not in screen.screen()
        assert running.quota() in ("-1", "max")
        screen.type("q")
        assert screen.status() == 0


@pytest.mark.parametrize(("columns", "rows"), [(40, 10), (80, 24), (200, 50)])
def test_every_size_shows_the_container(running: Running, columns: int, rows: int) -> None:
    with terminal(DASHBOARD, columns=columns, rows=rows, env=running.env) as screen:
        screen.wait_for(r"busy")
        screen.send("Enter")
        screen.wait_for(r"overview|CPU")
        screen.send("Escape")
        screen.wait_for(r"busy")
        screen.resize(60, 15)
        time.sleep(0.5)
        assert "busy" in screen.screen()
        screen.type("q")
        assert screen.status() == 0


def test_without_rights_it_opens_and_says_what_it_cannot_do() -> None:
    command = ["env", "-i", *(f"{k}={v}" for k, v in unprivileged.environment().items()), *unprivileged.command()]
    with terminal(command, columns=100, rows=30) as screen:
        text = screen.wait_for(r"cores")
        screen.type("?")
        text = screen.wait_for(r"root|rights")
        assert "Traceback" not in text
        screen.send("Escape")
        screen.type("q")
        assert screen.status() == 0


@pytest.mark.parametrize("stdin", [subprocess.DEVNULL, None], ids=["null", "closed"])
def test_without_a_terminal_it_says_what_works_instead(stdin: int | None) -> None:
    words = [*DASHBOARD]
    if stdin is None:
        words = ["sh", "-c", f"exec {shlex.join(DASHBOARD)} <&-"]
    result = subprocess.run(words, cwd=ROOT, stdin=stdin, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 2
    assert "stats --once" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_dashboard_that_is_killed_leaves_its_containers_alone(running: Running) -> None:
    with terminal(DASHBOARD, columns=80, rows=24, env=running.env) as screen:
        screen.wait_for(r"busy")
        screen.drop()
    time.sleep(0.5)
    assert running.container.pid is not None
    os.kill(running.container.pid, 0)
