"""A systemd unit that runs one command at boot: its text, its installation, and what to do where there is no systemd.

Source: systemd.service(5), systemd.syntax(7), systemd.unit(5).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runtime.kernel import unit_file
from runtime.kernel.systemd import BOOTED
from runtime.kernel.unit_file import TARGET, UNITS, escape_specifiers, quote

NAME: Final = "pytop-containers-boot.service"
OPENRC: Final = Path("/etc/local.d/pytop-containers.start")
NO_MORE: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class BootCommand:
    """What is run at boot.

    Attributes:
        words: the command line, its first word an absolute path.
        directory: where it is run.
        state: the directory whose file systems must be mounted before.
        environment: variables that it needs.
    """

    words: Sequence[str]
    directory: Path
    state: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def shell(self) -> str:
        """The command for a shell, as cron and OpenRC want it."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in sorted(self.environment.items())]
        words = [shlex.quote(word) for word in self.words]
        return f"cd {shlex.quote(str(self.directory))} && {' '.join([*variables, *words])}"


def unit_text(command: BootCommand) -> str:
    """The unit. What it starts lives in cgroups of its own, so the unit's end ends nothing."""
    lines = [
        "[Unit]",
        "Description=Start the containers of pytop-containers whose restart policy says so",
        "After=local-fs.target network.target",
        f"RequiresMountsFor={quote(str(command.state))}",
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        "KillMode=process",
        f"WorkingDirectory={escape_specifiers(str(command.directory))}",
        *environment_lines(command),
        f"ExecStart={words_text(command.words)}",
        "",
        "[Install]",
        f"WantedBy={TARGET}",
    ]
    return "\n".join(lines) + "\n"


def environment_lines(command: BootCommand) -> list[str]:
    """The variables of the command, a line each."""
    return [f"Environment={quote(f'{name}={value}')}" for name, value in sorted(command.environment.items())]


def words_text(words: Sequence[str]) -> str:
    """A command line as ExecStart= wants it."""
    return " ".join(quote(word, is_command=True) for word in words)


def is_installed(units: Path = UNITS, openrc: Path = OPENRC) -> bool:
    """Whether something here starts them at boot, as far as can be seen; a crontab cannot."""
    return os.path.lexists(units / f"{TARGET}.wants" / NAME) or os.access(openrc, os.X_OK)


def install(
    command: BootCommand, more: Mapping[str, str] = NO_MORE, *, units: Path = UNITS, booted: Path = BOOTED
) -> list[str]:
    """Write the unit and enable it; returns what was done, a line each. Blocking.

    `more` are the texts of other units by name; those of them that are paths are enabled and started too. Raises
    `UnsupportedError` with what to do instead where systemd does not run, `DeniedError` without the rights.
    """
    hint = (
        f"With cron, add the line '@reboot {command.shell}' to root's crontab; with OpenRC, write it without"
        f" @reboot to {OPENRC}, make that executable, and enable the service local"
    )
    title = "install the unit that starts containers at boot"
    texts = {NAME: unit_text(command), **more}
    return unit_file.install(texts, title=title, without_systemd=hint, units=units, booted=booted)


def uninstall(more: Iterable[str] = (), *, units: Path = UNITS, booted: Path = BOOTED) -> list[str]:
    """Disable the unit, and `more` that were installed with it, and remove them. Blocking.

    Returns what was done, empty when there was none.
    """
    title = "remove the unit that starts containers at boot"
    return unit_file.uninstall((NAME, *more), title=title, units=units, booted=booted)
