"""The file of a systemd unit: quoting, and its installation. Source: systemd.service(5), systemd.syntax(7)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from runtime.errors import DeniedError, KernelError, PytopError, UnsupportedError
from runtime.kernel.systemd import BOOTED

UNITS: Final = Path("/etc/systemd/system")
TARGET: Final = "multi-user.target"
_SYSTEMCTL_TIMEOUT_S: Final = 30.0
_AS_ROOT: Final = "Run it as root (sudo)"


def install(
    name: str, text: str, *, title: str, without_systemd: str, units: Path = UNITS, booted: Path = BOOTED
) -> list[str]:
    """Write a unit and enable it; returns what was done, a line each. Blocking.

    Raises `UnsupportedError` with `without_systemd` as hint where systemd does not run, `DeniedError` without the
    rights.
    """
    if not booted.exists():
        raise UnsupportedError(title, detail="systemd does not run here", hint=without_systemd)
    path = units / name
    try:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.chmod(0o644)
        temporary.replace(path)
    except PermissionError as error:
        raise DeniedError.from_os(title, error, hint=_AS_ROOT) from error
    except OSError as error:
        raise PytopError.from_os(title, error) from error
    return [f"wrote {path}", *(_systemctl(title, *words) for words in (("daemon-reload",), ("enable", name)))]


def uninstall(name: str, *, title: str, units: Path = UNITS, booted: Path = BOOTED) -> list[str]:
    """Disable a unit and remove it; returns what was done, empty when there was none. Blocking."""
    path, done = units / name, []
    if not path.exists():
        return []
    if booted.exists():
        done.append(_systemctl(title, "disable", name))
    try:
        path.unlink()
    except PermissionError as error:
        raise DeniedError.from_os(title, error, hint=_AS_ROOT) from error
    except OSError as error:
        raise PytopError.from_os(title, error) from error
    done.append(f"removed {path}")
    return [*done, _systemctl(title, "daemon-reload")] if booted.exists() else done


def _systemctl(title: str, *words: str) -> str:
    command = ["systemctl", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SYSTEMCTL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(title, detail=f"{' '.join(command)}: {error}") from error
    if done.returncode != 0:
        raise KernelError(title, detail=f"{' '.join(command)}: {done.stderr.strip()}")
    return f"ran {' '.join(command)}"


def escape_specifiers(text: str) -> str:
    """A value in which `%` means itself."""
    return text.replace("%", "%%")


def quote(text: str, *, is_command: bool = False) -> str:
    """One word in systemd's quoting; in a command line `$` is doubled too."""
    escaped = escape_specifiers(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    escaped = escaped.replace("$", "$$") if is_command else escaped
    return f'"{escaped}"' if not text or set(text) & set(" \t\n\"'\\;") else escaped
