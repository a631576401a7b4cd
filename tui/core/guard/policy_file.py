"""Reads a policy from a TOML file that nobody else may write; everything that is wrong in it is told at once.

docs/guard.md is the reference of the keys. An error names the file, the key, and what is right.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from runtime.errors import InvalidError, PytopError
from runtime.kernel import trusted_file
from tui.core.guard.policy import (
    DEFAULT_CALM_S,
    DEFAULT_COOL_DOWN_S,
    DEFAULT_HOLD_S,
    DEFAULT_LEASE_S,
    DEFAULT_MAX_ACTIONS,
    DEFAULT_P99_EVERY_S,
    DEFAULT_TRIAL_S,
    Aim,
    Containable,
    P99Command,
    Policy,
    Protected,
    Selector,
)
from tui.core.guard.policy_table import PolicyError, PolicyTable

MAX_POLICY_BYTES: Final = 64 * 1024
SHARES: Final = (Aim.CPU_WAIT, Aim.MEMORY_WAIT, Aim.IO_WAIT, Aim.MEMORY_PRESSURE)
_MAX_P99_MS: Final = 3_600_000.0
_MAX_P99_S: Final = 3600.0
_MAX_LEASE_S: Final = 3600.0
_MIN_LEASE_S: Final = 10.0
_MAX_DURATION_S: Final = 86_400.0
_MAX_BUDGET: Final = 3600
_SELECTORS: Final = ("name", "label", "engine", "unit", "program")


def load(path: str | Path) -> Policy:
    """The policy of a file. Raises its first error, with the number of the others in its hint."""
    policy, errors = check(path)
    if policy is not None:
        return policy
    first = errors[0]
    if len(errors) > 1:
        raise InvalidError(
            first.title,
            detail=first.detail,
            hint=f"{first.hint or 'Mend it'}; `pytop-containers guard --check` tells {len(errors) - 1} more",
            path=first.path,
        )
    raise first


def check(path: str | Path) -> tuple[Policy | None, tuple[PytopError, ...]]:
    """The policy of a file, or everything that is wrong in it; one of the two is empty. Blocking."""
    title = "read the guard's policy"
    try:
        data = trusted_file.read(path, limit=MAX_POLICY_BYTES, title=title)
    except PytopError as error:
        return None, (error,)
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        return None, (PolicyError(str(path), "", f"it is not TOML: {error}"),)
    return parse(document, str(path))


def parse(document: Mapping[str, Any], path: str) -> tuple[Policy | None, tuple[PytopError, ...]]:
    """As `check`, of a document that was read from `path`. A p99's command is looked for on the disk."""
    table = PolicyTable(document, path)
    policy = Policy(
        path=path,
        protect=tuple(_protected(entry) for entry in table.tables("protect", required=True)),
        contain=tuple(_containable(entry) for entry in table.tables("contain", required=True)),
        never=tuple(_never(entry) for entry in table.tables("never")),
        dry_run=table.flag("dry_run"),
        hold_s=table.number("hold_s", DEFAULT_HOLD_S, 0.0, _MAX_DURATION_S),
        calm_s=table.number("calm_s", DEFAULT_CALM_S, 1.0, _MAX_DURATION_S),
        trial_s=table.number("trial_s", DEFAULT_TRIAL_S, 1.0, _MAX_DURATION_S),
        cool_down_s=table.number("cool_down_s", DEFAULT_COOL_DOWN_S, 1.0, _MAX_DURATION_S),
        lease_s=table.number("lease_s", DEFAULT_LEASE_S, _MIN_LEASE_S, _MAX_LEASE_S),
        actions_per_hour=round(table.number("actions_per_hour", DEFAULT_MAX_ACTIONS, 1, _MAX_BUDGET)),
    )
    table.reject_unknown()
    return (None, tuple(table.errors)) if table.errors else (policy, ())


def _selector(table: PolicyTable, kinds: tuple[str, ...]) -> Selector:
    """The patterns of an entry, of which it has at least one."""
    names, labels, engines = (table.patterns(kind) for kind in ("name", "label", "engine"))
    units, programs = (table.patterns(kind) if kind in kinds else () for kind in ("unit", "program"))
    if not (names or labels or engines or units or programs) and not any(kind in table for kind in kinds):
        known = ", ".join(kinds)
        table.errors.append(
            PolicyError(table.path, table.place(), f"it says nobody; give one of {known}", 'For example name = "api-*"')
        )
    return Selector(names=names, labels=labels, engines=engines, units=units, programs=programs)


def _never(table: PolicyTable) -> Selector:
    selector = _selector(table, _SELECTORS)
    table.reject_unknown()
    return selector


def _protected(table: PolicyTable) -> Protected:
    selector = _selector(table, ("name", "label", "engine"))
    targets = {aim: limit for aim in SHARES if (limit := table.optional_number(aim.value, 0.0, 1.0)) is not None}
    p99_ms = table.optional_number(Aim.P99_MS.value, 0.0, _MAX_P99_MS)
    argv = table.command("p99_command")
    every_s = table.number("p99_every_s", DEFAULT_P99_EVERY_S, 1.0, _MAX_P99_S)
    user = table.user("p99_user")
    if p99_ms is not None:
        targets[Aim.P99_MS] = p99_ms
    if (p99_ms is None) != ("p99_command" not in table):
        absent, given = ("p99_command", "p99_ms") if p99_ms is not None else ("p99_ms", "p99_command")
        table.errors.append(
            PolicyError(
                table.path,
                table.place(absent),
                f"is missing beside {given}",
                'For example p99_ms = 50 and p99_command = ["/usr/local/bin/p99"]',
            )
        )
    table.reject_unknown()
    if not targets and not table.has_errors:
        keys = ", ".join(aim.value for aim in Aim)
        table.errors.append(
            PolicyError(
                table.path,
                table.place(),
                f"it has no target; give one of {keys}",
                "For example cpu_wait = 0.2, a share of time",
            )
        )
    p99 = P99Command(argv=argv, every_s=every_s, user=user) if argv else None
    return Protected(selector=selector, targets=targets, p99=p99)


def _containable(table: PolicyTable) -> Containable:
    selector = _selector(table, _SELECTORS)
    last_rung = table.rung("last_rung")
    floors = table.floors()
    table.reject_unknown()
    return Containable(selector=selector, last_rung=last_rung, floors=floors)
