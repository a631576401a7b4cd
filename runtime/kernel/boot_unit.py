"""A systemd unit that runs one command at boot: its text, its installation, and what to do where there is no systemd.

Source: systemd.service(5), systemd.syntax(7), systemd.unit(5).
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runtime.errors import DeniedError, KernelError, PytopError, UnsupportedError
from runtime.kernel.systemd import BOOTED

NAME: Final = "pytop-containers-boot.service"
UNITS: Final = Path("/etc/systemd/system")
OPENRC: Final = Path("/etc/local.d/pytop-containers.start")
NO_MORE: Final[Mapping[str, str]] = {}
_TARGET: Final = "multi-user.target"
_SYSTEMCTL_TIMEOUT_S: Final = 30.0


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
        f"RequiresMountsFor={_word(str(command.state))}",
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        "KillMode=process",
        f"WorkingDirectory={_specifiers(str(command.directory))}",
        *environment_lines(command),
        f"ExecStart={words_text(command.words)}",
        "",
        "[Install]",
        f"WantedBy={_TARGET}",
    ]
    return "\n".join(lines) + "\n"


def environment_lines(command: BootCommand) -> list[str]:
    """The variables of the command, a line each."""
    return [f"Environment={_word(f'{name}={value}')}" for name, value in sorted(command.environment.items())]


def words_text(words: Sequence[str]) -> str:
    """A command line as ExecStart= wants it."""
    return " ".join(_word(word, is_command=True) for word in words)


def is_installed(units: Path = UNITS, openrc: Path = OPENRC) -> bool:
    """Whether something here starts them at boot, as far as can be seen; a crontab cannot."""
    return os.path.lexists(units / f"{_TARGET}.wants" / NAME) or os.access(openrc, os.X_OK)


def install(
    command: BootCommand, more: Mapping[str, str] = NO_MORE, *, units: Path = UNITS, booted: Path = BOOTED
) -> list[str]:
    """Write the unit and enable it; returns what was done, a line each. Blocking.

    `more` are the texts of other units by name; those of them that are paths are enabled and started too. Raises
    `UnsupportedError` with what to do instead where systemd does not run, `DeniedError` without the rights.
    """
    title = "install the unit that starts containers at boot"
    if not booted.exists():
        raise UnsupportedError(
            title,
            detail="systemd does not run here",
            hint=f"With cron, add the line '@reboot {command.shell}' to root's crontab; with OpenRC, write it without"
            f" @reboot to {OPENRC}, make that executable, and enable the service local",
        )
    written = {NAME: unit_text(command), **more}
    for name, text in written.items():
        path = units / name
        try:
            temporary = path.with_suffix(".tmp")
            temporary.write_text(text)
            temporary.chmod(0o644)
            temporary.replace(path)
        except PermissionError as error:
            raise DeniedError.from_os(title, error, hint="Run it as root (sudo)") from error
        except OSError as error:
            raise PytopError.from_os(title, error) from error
    orders = [("daemon-reload",), ("enable", NAME), *(("enable", "--now", name) for name in _paths(more))]
    return [*(f"wrote {units / name}" for name in written), *(_systemctl(title, *words) for words in orders)]


def uninstall(more: Iterable[str] = (), *, units: Path = UNITS, booted: Path = BOOTED) -> list[str]:
    """Disable the unit, and `more` that were installed with it, and remove them. Blocking.

    Returns what was done, empty when there was none.
    """
    title, done = "remove the unit that starts containers at boot", []
    found = [name for name in (NAME, *more) if (units / name).exists()]
    if not found:
        return []
    for name in found:
        if booted.exists() and (name == NAME or _paths((name,))):
            done.append(_systemctl(title, "disable", *(("--now", name) if name != NAME else (name,))))
        try:
            (units / name).unlink()
        except PermissionError as error:
            raise DeniedError.from_os(title, error, hint="Run it as root (sudo)") from error
        except OSError as error:
            raise PytopError.from_os(title, error) from error
        done.append(f"removed {units / name}")
    return [*done, _systemctl(title, "daemon-reload")] if booted.exists() else done


def _paths(names: Iterable[str]) -> list[str]:
    """Those that are started at once, and at each boot: what they start has no target of its own."""
    return [name for name in names if name.endswith(".path")]


def _systemctl(title: str, *words: str) -> str:
    command = ["systemctl", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SYSTEMCTL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(title, detail=f"{' '.join(command)}: {error}") from error
    if done.returncode != 0:
        raise KernelError(title, detail=f"{' '.join(command)}: {done.stderr.strip()}")
    return f"ran {' '.join(command)}"


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _word(text: str, *, is_command: bool = False) -> str:
    """One word in systemd's quoting; in a command line `$` is doubled too."""
    escaped = _specifiers(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    escaped = escaped.replace("$", "$$") if is_command else escaped
    return f'"{escaped}"' if not text or set(text) & set(" \t\n\"'\\;") else escaped
