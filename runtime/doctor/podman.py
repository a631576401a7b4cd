"""Checks for a Podman whose API socket does not exist: its own client works without one, this program does not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from runtime.doctor.check import Check, Level
from runtime.engines.podman.endpoint import connections

_SYSTEMD = Path("/run/systemd/system")


def podman_checks(
    environ: Mapping[str, str] = os.environ, *, home: Path | None = None, uid: int | None = None
) -> Iterator[Check]:
    """One check when Podman is installed and has no socket; with a socket, the engine's own check covers it."""
    if shutil.which("podman", path=environ.get("PATH")) is None or connections(environ, home, uid=uid):
        return
    own = "" if (os.geteuid() if uid is None else uid) == 0 else "--user "
    remedy = f"systemctl {own}enable --now podman.socket"
    if not _SYSTEMD.is_dir():
        where = "/run/podman/podman.sock" if not own else "$XDG_RUNTIME_DIR/podman/podman.sock"
        remedy = f"mkdir -p $(dirname {where}) && podman system service -t 0 unix://{where} &"
    words = "is installed, and its API socket is not there: its containers are known by their cgroups only"
    yield Check("engines", "podman", Level.LIMITED, words, remedy)
