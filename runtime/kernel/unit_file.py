"""The file of a systemd unit: quoting, and its installation. Source: systemd.service(5), systemd.syntax(7)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from runtime.errors import DeniedError, KernelError, PytopError, UnsupportedError
from runtime.kernel.systemd import BOOTED

UNITS: Final = Path("/etc/systemd/system")
TARGET: Final = "multi-user.target"
_SYSTEMCTL_TIMEOUT_S: Final = 30.0
_AS_ROOT: Final = "Run it as root (sudo)"


def install(
    units_texts: Mapping[str, str],
    *,
    title: str,
    without_systemd: str,
    units: Path = UNITS,
    booted: Path = BOOTED,
) -> list[str]:
    """Write units by name and enable them; returns what was done, a line each. Blocking.

    The first one is enabled; of the others those that are paths are enabled and started. Raises `UnsupportedError` with
    `without_systemd` as hint where systemd does not run, `DeniedError` without the rights.
    """
    if not booted.exists():
        raise UnsupportedError(title, detail="systemd does not run here", hint=without_systemd)
    for name, text in units_texts.items():
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
    orders = [("daemon-reload",), *(("enable", *words) for words in _enabled(units_texts))]
    return [*(f"wrote {units / name}" for name in units_texts), *(_systemctl(title, *words) for words in orders)]


def uninstall(names: Iterable[str], *, title: str, units: Path = UNITS, booted: Path = BOOTED) -> list[str]:
    """Disable units that were installed together and remove them; returns what was done. Blocking."""
    names = list(names)
    enabled, done = {words[-1]: words for words in _enabled(names)}, []
    found = [name for name in names if (units / name).exists()]
    for name in found:
        if booted.exists() and name in enabled:
            done.append(_systemctl(title, "disable", *enabled[name]))
        try:
            (units / name).unlink()
        except PermissionError as error:
            raise DeniedError.from_os(title, error, hint=_AS_ROOT) from error
        except OSError as error:
            raise PytopError.from_os(title, error) from error
        done.append(f"removed {units / name}")
    return [*done, _systemctl(title, "daemon-reload")] if found and booted.exists() else done


def _enabled(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Words for systemctl enable: paths are started at once too, as what they start has no target of its own."""
    first, *others = names
    return [(first,), *(("--now", name) for name in others if name.endswith(".path"))]


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
