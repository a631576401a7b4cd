"""The program as a user runs it, in a process of its own, pointed at an embedded engine of the tests' own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.kernel import cgroupfs, own_cgroup
from tests.conftest import need_root
from tests.integration.embedded import config, leftovers
from tests.waiting import until

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Program:
    """Call it with the words of a command line; `code` is the exit code that it must have.

    `root` is where its source tree is.
    """

    where: EmbeddedConfig
    env: dict[str, str]
    root: Path = ROOT

    def __call__(self, *words: str, code: int | None = 0, **more: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "tui", *words],
            env=self.env | more.pop("env", {}),
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **more,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if code is not None:
            assert done.returncode == code, done
        return done

    def begin(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tui", *words]
        return subprocess.Popen(
            command, env=self.env, cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
        )

    def container(self, name: str) -> dict[str, Any]:
        found = json.loads(self("ps", "-a", "--json").stdout)
        (one,) = [c for c in found if c["name"] == name]
        return dict(one)

    def file(self, name: str, v1: tuple[str, str], v2: str) -> str:
        """The text of a container's limit file, read past the program."""
        cgroup = own_cgroup.locate(cgroupfs.detect(), self.container(name)["pid"])
        place = cgroup.where(v1[0])
        assert place is not None
        return (place[0] / (v1[1] if place[1] == 1 else v2)).read_text().strip()


@contextlib.contextmanager
def program(**environ: str) -> Iterator[Program]:
    """A program with an engine, and a Docker that is configured and dead unless `environ` names another."""
    need_root("embedded")
    with tempfile.TemporaryDirectory(prefix="pytop-cli-") as folder:
        Path(folder).chmod(0o755)
        where = config(Path(folder))
        env = {
            key: value for key, value in os.environ.items() if not key.startswith(("PYTOP_", "DOCKER_", "CONTAINER"))
        } | {
            "PYTOP_STATE_DIR": str(where.state),
            "PYTOP_RUN_DIR": str(where.run),
            "PYTOP_CGROUP": where.cgroup,
            "PYTOP_BRIDGE": where.bridge,
            "PYTOP_SUBNET": where.subnet,
            "PYTOP_FOUND": "0",
            "DOCKER_HOST": f"unix://{folder}/no-docker.sock",
            "LANG": "C.UTF-8",
            **environ,
        }
        try:
            yield Program(where, env)
        finally:
            asyncio.run(_destroy(where))


async def _destroy(where: EmbeddedConfig) -> None:
    engine = EmbeddedEngine(where)
    await engine.destroy()
    await engine.close()
    await until(lambda: not leftovers(where), 5, lambda: f"nothing is left: {leftovers(where)}")
