"""Running the program as somebody without rights, with an interpreter that this somebody may run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import missing, need_root

ROOT = Path(__file__).parents[1]
TRY = "import subprocess, sys, textual, tui.__main__; subprocess.run([sys.executable, '-c', ''], check=True)"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def command(*arguments: str) -> list[str]:
    """The words that run `python -m tui` as nobody; our own interpreter may lie in a home that is closed to others."""
    need_root("unprivileged")
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        if shutil.which(python) and _runs([*NOBODY, python, "-c", TRY]):
            break
    else:
        missing("unprivileged", "no interpreter of this version can be run by another user")
    return [*NOBODY, python, "-m", "tui", *arguments]


def environment(**more: str) -> dict[str, str]:
    """What such a process needs to find the project and its libraries."""
    site = next(path for path in sys.path if path.endswith("site-packages"))
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{site}",
        "HOME": "/nonexistent",
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "DOCKER_HOST": "",
        **more,
    }


def _runs(words: Sequence[str]) -> bool:
    done = subprocess.run(words, cwd="/", capture_output=True, timeout=60, env=environment(), check=False)
    return done.returncode == 0
