"""`run --rm` of `true` in the foreground, from the shell: from fork to exit, medians of alternating turns.

Ours with its own bridge network against the client of Docker, whose daemon is a private one that has been used. Both
are warm: the first turn of each is not counted.
"""

from __future__ import annotations

import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.lifecycle import Lifecycle
from tests.bench.figure import Figure, Unavailable
from tests.dockerd import Dockerd, busybox_rootfs, dockerd

TURNS, SHORT_TURNS = 15, 5
ROOT = Path(__file__).resolve().parents[2]
IMAGE = "pytop-bench"
TURN_TIMEOUT_S = 30.0


def figures(*, short: bool = False) -> list[Figure]:
    if os.geteuid() != 0:
        raise Unavailable("needs root")
    for program in ("docker", "busybox", "ip", "nsenter", *Dockerd.NEEDS):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is not installed")
    with tempfile.TemporaryDirectory(prefix="pytop-bench-") as directory:
        ours, dockers = _measure(Path(directory), SHORT_TURNS if short else TURNS)
    words = f"{ours * 1e3:.0f} ms / docker run --rm of the same {dockers * 1e3:.0f} ms"
    return [Figure("run --rm in the foreground", ours / dockers, 0.7, words)]


def _measure(directory: Path, turns: int) -> tuple[float, float]:
    tag = secrets.token_hex(3)
    config = EmbeddedConfig(
        directory / "state", directory / "run", f"pytop-bench-{tag}", f"pb-{tag}", subnet="10.215.16.0/20"
    )
    environ = {
        **os.environ,
        "PYTOP_STATE_DIR": str(config.state),
        "PYTOP_RUN_DIR": str(config.run),
        "PYTOP_CGROUP": config.cgroup,
        "PYTOP_BRIDGE": config.bridge,
        "PYTOP_SUBNET": config.subnet,
        "PYTHONPATH": str(ROOT),
    }
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the first turn compiles, as an installation does
    times: dict[str, list[float]] = {"ours": [], "docker": []}
    with dockerd(directory / "docker") as daemon:
        subprocess.run(
            ["docker", "-H", daemon.url, "import", "-", IMAGE],
            input=busybox_rootfs(),
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )
        commands = {
            "ours": [sys.executable, "-P", "-m", "tui", "run", "--rm", "host", "true"],
            "docker": ["docker", "-H", daemon.url, "run", "--rm", IMAGE, "true"],
        }
        try:
            for turn in range(turns + 1):
                for name, command in commands.items():
                    taken = _timed(command, environ)
                    if turn:  # the first is cold
                        times[name].append(taken)
        finally:
            Lifecycle(config).destroy()
    return statistics.median(times["ours"]), statistics.median(times["docker"])


def _timed(command: list[str], environ: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=TURN_TIMEOUT_S
    )
    return time.perf_counter() - begun
