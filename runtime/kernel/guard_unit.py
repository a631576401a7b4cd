"""The systemd unit that runs the guard: its text, its installation, and what to do where there is no systemd.

Source: systemd.service(5), systemd.exec(5), systemd.resource-control(5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runtime.kernel import unit_file
from runtime.kernel.systemd import BOOTED
from runtime.kernel.unit_file import TARGET, UNITS, escape_specifiers, quote

NAME: Final = "pytop-containers-guard.service"
CPU_WEIGHT: Final = 1000  # as cpu.weight counts, 100 being normal
_STOP_TIMEOUT_S: Final = 30
_RESTART_PAUSE_S: Final = 5


@dataclass(frozen=True, slots=True)
class GuardCommand:
    """What the unit runs: its words, the first an absolute path; where; and the variables that it needs."""

    words: Sequence[str]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def unit_text(command: GuardCommand) -> str:
    """The unit. It ends with SIGTERM, by which the guard takes back what it holds; killed, it is started again."""
    variables = [f"Environment={quote(f'{name}={value}')}" for name, value in sorted(command.environment.items())]
    lines = [
        "[Unit]",
        "Description=Keep protected containers within their targets (pytop-containers guard)",
        "After=local-fs.target network.target docker.service podman.service containerd.service",
        "",
        "[Service]",
        "Type=exec",
        f"WorkingDirectory={escape_specifiers(str(command.directory))}",
        *variables,
        f"ExecStart={' '.join(quote(word, is_command=True) for word in command.words)}",
        "Restart=on-failure",
        "RestartPreventExitStatus=2 4",
        f"RestartSec={_RESTART_PAUSE_S}",
        f"TimeoutStopSec={_STOP_TIMEOUT_S}",
        f"CPUWeight={CPU_WEIGHT}",
        "OOMScoreAdjust=-500",
        "KillMode=mixed",
        "",
        "[Install]",
        f"WantedBy={TARGET}",
    ]
    return "\n".join(lines) + "\n"


def install(command: GuardCommand, *, units: Path = UNITS, booted: Path = BOOTED) -> list[str]:
    """Write the unit and enable it; returns what was done, a line each. It starts at the next boot. Blocking.

    Raises `UnsupportedError` with what to do instead where systemd does not run, `DeniedError` without the rights.
    """
    hint = f"Have another supervisor run this as root, and start it again when it ends: {' '.join(command.words)}"
    title = "install the unit that runs the guard"
    done = unit_file.install({NAME: unit_text(command)}, title=title, without_systemd=hint, units=units, booted=booted)
    return [*done, f"start it now with: systemctl start {NAME}"]


def uninstall(*, units: Path = UNITS, booted: Path = BOOTED) -> list[str]:
    """Disable the unit and remove it; returns what was done, empty when there was none. Blocking."""
    return unit_file.uninstall((NAME,), title="remove the unit that runs the guard", units=units, booted=booted)
