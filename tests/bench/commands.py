"""How long a command takes beyond the interpreter's own start: medians of alternating turns, in a home of its own."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.figure import Figure, Unavailable
from tests.daemon import running
from tests.dockerd import Dockerd

ROOT = Path(__file__).resolve().parents[2]
TURNS, SHORT_TURNS = 21, 7
WORDS = {"--version": ["--version"], "--help": ["--help"], "a wrong verb": ["pss"]}
WORDS_MS = 60  # of what says something about the program only
PS_MS, PS_WITH_DOCKER_MS = 150, 200


def figures(*, short: bool = False) -> list[Figure]:
    turns = SHORT_TURNS if short else TURNS
    with tempfile.TemporaryDirectory(prefix="pytop-bench-") as directory:
        environ = _environ(Path(directory))
        found = [
            *_beyond_python(WORDS, WORDS_MS, environ, turns),
            *_beyond_python({"ps without a daemon": ["ps"]}, PS_MS, environ, turns),
        ]
        try:
            found += _with_docker(Path(directory), environ, turns)
        except Unavailable as reason:
            print(f"--   {'ps with Docker':<36} not measured: {reason}", flush=True)
    return found


def _environ(home: Path) -> dict[str, str]:
    """Of the embedded engine nothing is there, and no container that any engine would find."""
    return {
        "HOME": str(home),
        "PATH": os.environ.get("PATH", os.defpath),
        "XDG_RUNTIME_DIR": str(home),
        "PYTOP_STATE_DIR": str(home / "state"),
        "PYTOP_RUN_DIR": str(home / "run"),
        "PYTHONPATH": str(ROOT),
    }


def _with_docker(directory: Path, environ: Mapping[str, str], turns: int) -> list[Figure]:
    if os.geteuid() != 0 or any(shutil.which(program) is None for program in (*Dockerd.NEEDS, "nsenter", "ip")):
        raise Unavailable("needs root, dockerd and curl")
    with running(Dockerd(directory / "docker")) as dockerd:
        environ = {**environ, "DOCKER_HOST": dockerd.url}
        return _beyond_python({"ps with Docker": ["ps"]}, PS_WITH_DOCKER_MS, environ, turns)


def _beyond_python(
    commands: Mapping[str, Sequence[str]], bound_ms: int, environ: Mapping[str, str], turns: int
) -> list[Figure]:
    """Two figures per command: the time elapsed, with the bound, and its CPU by that of Python alone, without one.

    The second is for the history: how fast a machine is changes it little.
    """
    found = []
    for name, arguments in commands.items():
        program = [sys.executable, "-m", "tui", *arguments]
        bare = [sys.executable, "-c", "pass"]
        pairs = [(_run(program, environ), _run(bare, environ)) for _ in range(turns + 1)][1:]  # the first is cold
        took, python = (statistics.median(pair[side][0] for pair in pairs) * 1e3 for side in (0, 1))
        words = f"{took:.0f} ms, python -c pass {python:.0f} ms, of {bound_ms} ms beyond it"
        found.append(Figure(name, max(0.0, took - python) / bound_ms, 1.0, words))
        cpu, pythons = (statistics.median(pair[side][1] for pair in pairs) * 1e3 for side in (0, 1))
        words = f"{cpu:.0f} ms of CPU, python -c pass {pythons:.0f} ms"
        found.append(Figure(f"{name}, CPU", cpu / pythons, None, words, wall_time=False))
    return found


def _run(command: Sequence[str], environ: Mapping[str, str]) -> tuple[float, float]:
    """Seconds elapsed, and of CPU."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime
