"""Systemd units that start the keeper whenever there is a lease, also when the program and its keeper were killed.

The path unit looks at the names in root's run directory; the service is the keeper, which ends by itself and is
started again when it was killed. Source: systemd.path(5), systemd.service(5).
"""

from __future__ import annotations

from typing import Final

from runtime.containment import keeper, store
from runtime.containment.keeper_process import OOM_SCORE_ADJ, SERVICE
from runtime.kernel import run_directory
from runtime.kernel.boot_unit import BootCommand, environment_lines, words_text

STEM: Final = "pytop-containers-leases"


def texts(command: BootCommand) -> dict[str, str]:
    """The units by their names; `command` is what runs at boot, with the settings that the keeper needs too."""
    directory = run_directory.RUN / run_directory.NAME
    path = [
        "[Unit]",
        "Description=Look for limits that pytop-containers has set for a time",
        "",
        "[Path]",
        f"PathExistsGlob={directory}/{store.PREFIX}*",
        "",
        "[Install]",
        "WantedBy=paths.target",
    ]
    service = [
        "[Unit]",
        "Description=Take back limits that pytop-containers has set for a time",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        *environment_lines(command),
        f"ExecStart={words_text(keeper.command_line(directory, SERVICE))}",
        "Restart=on-failure",
        "RestartSec=100ms",
        f"OOMScoreAdjust={OOM_SCORE_ADJ}",
    ]
    return {f"{STEM}.service": "\n".join(service) + "\n", f"{STEM}.path": "\n".join(path) + "\n"}
