"""The keeper as a transient service of systemd: of the system's manager, or of the user's where that lingers.

Source: org.freedesktop.systemd1(5), StartTransientUnit; systemd.service(5); loginctl(1), enable-linger.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from runtime.containment.keeper_process import OOM_SCORE_ADJ, SERVICE
from runtime.errors import PytopError
from runtime.kernel import systemd
from runtime.kernel.systemd import Unit
from runtime.kernel.systemd_dbus import Manager, Property

NAME: Final = "pytop-containers-keeper.service"
LINGER: Final = Path("/var/lib/systemd/linger")
RESTART_PAUSE_US: Final = 100_000
_VARIABLES: Final = ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME", "PYTOP_STATE_DIR")


def variables() -> dict[str, str]:
    """Those by which a keeper finds the directories of whoever has started it."""
    return {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}


def manager_unit() -> Unit | None:
    """The keeper's unit; None where there is no manager that outlives a login of this user."""
    if not systemd.booted():
        return None
    uid = os.geteuid()
    if uid == 0:
        return Unit(NAME, f"/system.slice/{NAME}")
    with suppress(KeyError):
        if (LINGER / pwd.getpwuid(uid).pw_name).exists():
            return Unit(NAME, "", uid)
    return None


def properties(words: list[str], *, privileged: bool) -> list[Property]:
    """Of the transient unit: restarted when it was killed, not when it has ended by itself."""
    found: list[tuple[str, tuple[str, Any]]] = [
        ("Description", ("s", "Takes back limits that pytop-containers has set for a time")),
        ("ExecStart", ("a(sasb)", [(words[0], words, False)])),
        ("Environment", ("as", [f"{name}={value}" for name, value in sorted(variables().items())])),
        ("Restart", ("s", "on-failure")),
        ("RestartUSec", ("t", RESTART_PAUSE_US)),
        ("StartLimitIntervalUSec", ("t", 0)),
        ("CollectMode", ("s", "inactive-or-failed")),
    ]
    return [*found, ("OOMScoreAdjust", ("i", OOM_SCORE_ADJ))] if privileged else found


def start(command: Callable[..., list[str]]) -> bool:
    """Have systemd start a keeper; False where it cannot. Blocking."""
    unit = manager_unit()
    if unit is None:
        return False
    body: tuple[Any, ...] = (unit.name, "replace", properties(command(SERVICE), privileged=unit.uid is None), [])
    try:
        with Manager(unit) as manager:
            manager.call("StartTransientUnit", "ssa(sv)a(sa(sv))", body, title=f"start {unit.name}")
    except PytopError as error:
        return "exists" in error.detail or "already" in error.detail  # it is being started again
    return True
