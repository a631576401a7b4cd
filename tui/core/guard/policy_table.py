"""One table of a policy file: takes its values by key, and collects what is wrong with them."""

from __future__ import annotations

import math
import os
import pwd
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from runtime.errors import InvalidError, PytopError
from runtime.kernel import trusted_file
from runtime.limits.units import parse_bytes, parse_count, parse_cpus, parse_rate
from runtime.model import LimitName, Unlimited
from tui.core.guard.policy import DEFAULT_MIN_CPUS, RUNGS

TITLE: Final = "read the guard's policy"
MAX_PATTERNS: Final = 200  # of one key
MAX_TEXT_CHARACTERS: Final = 4096
FLOORS: Final[Mapping[str, tuple[Callable[[str], float | Unlimited], tuple[LimitName, ...], str]]] = {
    "min_cpus": (parse_cpus, (LimitName.CPUS,), "cores, for example 0.2"),
    "min_memory": (parse_bytes, (LimitName.MEMORY, LimitName.MEMORY_HIGH), 'bytes, for example "256m"'),
    "min_io": (parse_bytes, (LimitName.IO_READ_BPS, LimitName.IO_WRITE_BPS), 'bytes a second, for example "5m"'),
    "min_net": (parse_rate, (LimitName.NET_EGRESS, LimitName.NET_INGRESS), 'a rate, for example "10mbit"'),
    "min_tasks": (parse_count, (LimitName.PIDS,), "a number of tasks, for example 64"),
}
"""By key: what reads its text, the limits that never go below it, and what is right."""


class PolicyTable:
    """One table of the file.

    Attributes:
        name: where it is, "protect[2]"; "" for the whole file.
        errors: those of the whole file.
    """

    def __init__(
        self, values: Mapping[str, Any], path: str, name: str = "", errors: list[PytopError] | None = None
    ) -> None:
        self.name = name
        self.errors: list[PytopError] = [] if errors is None else errors
        self._values = values
        self._path = path
        self._asked: dict[str, None] = {}
        self._errors_before = len(self.errors)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    @property
    def has_errors(self) -> bool:
        """Something in this table is wrong."""
        return len(self.errors) > self._errors_before

    def wrong(self, key: str, what: str, right: str = "") -> None:
        """Note an error about a key, or about the whole table; `right` is what is right."""
        place = ".".join(filter(None, (self.name, key)))
        self.errors.append(InvalidError(TITLE, detail=f"{place}: {what}", hint=right, path=self._path))

    def reject_unknown(self) -> None:
        """Note every key that nothing has asked for, with the nearest that there is."""
        for key in self._values.keys() - self._asked.keys():
            near = get_close_matches(key, self._asked, 1)
            known = ", ".join(self._asked)
            self.wrong(key, "there is no such key", f"Write {near[0]}" if near else f"There are {known}")

    def tables(self, key: str, *, required: str = "") -> list[PolicyTable]:
        """The entries [[key]]; `required` says what is not known without one."""
        found = self._value(key)
        right = f"Write [[{key}]] on a line of its own above each entry"
        if found is None and not required:
            return []
        if not isinstance(found, list) or not all(isinstance(entry, Mapping) for entry in found):
            self.wrong(
                key, f"is missing: nothing says {required}" if found is None else "it is no list of tables", right
            )
            return []
        if not found and required:
            self.wrong(key, f"is empty: nothing says {required}", right)
        return [
            PolicyTable(entry, self._path, f"{key}[{number}]", self.errors)
            for number, entry in enumerate(found, start=1)
        ]

    def flag(self, key: str) -> bool:
        """A switch, off by default."""
        value = self._value(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.wrong(key, f"must be true or false, not {value!r}")
        return False

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number of `low` to `high`."""
        value = self.optional_number(key, low, high)
        return default if value is None else value

    def optional_number(self, key: str, low: float, high: float) -> float | None:
        """As `number`, None when it is not given or wrong."""
        value = self._value(key)
        if value is None:
            return None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not low <= value <= high:
            self.wrong(key, f"must be a number from {low:g} to {high:g}, not {_short(value)}")
            return None
        return float(value)

    def patterns(self, key: str) -> tuple[str, ...]:
        """One text or a list of texts, none of them empty."""
        value = self._value(key)
        found = [value] if isinstance(value, str) else value
        if found is None:
            return ()
        if not isinstance(found, list) or not 0 < len(found) <= MAX_PATTERNS or not all(map(_is_text, found)):
            self.wrong(key, f"must be a pattern or a list of patterns, not {_short(value)}", f'{key} = "batch-*"')
            return ()
        return tuple(found)

    def command(self, key: str) -> tuple[str, ...]:
        """A command as a list of words, whose program is there and nobody else may write."""
        value = self._value(key)
        if value is None:
            return ()
        right = f'{key} = ["/usr/local/bin/p99", "--of", "api"]; there is no shell'
        if not isinstance(value, list) or not 0 < len(value) <= MAX_PATTERNS or not all(map(_is_text, value)):
            self.wrong(key, f"must be a list of words, not {_short(value)}", right)
            return ()
        reason = _why_not_run(value[0])
        if reason:
            self.wrong(key, f"{value[0]}: {reason}", right)
        return tuple(value)

    def user(self, key: str) -> str:
        """The name of a user of this machine."""
        value = self._value(key)
        if value is None:
            return ""
        try:
            uid = pwd.getpwnam(value).pw_uid if _is_text(value) else None
        except KeyError:
            uid = None
        if uid is None:
            self.wrong(key, f"there is no user {_short(value)}", 'Give a user\'s name, for example "nobody"')
            return ""
        if os.geteuid() not in (0, uid):
            self.wrong(key, "only root may run a command as another user", "Leave it out: the command runs as you")
        return str(value)

    def rung(self, key: str) -> str:
        """The name of a rung of the ladder; it must be given."""
        value = self._value(key)
        if isinstance(value, str) and value in RUNGS:
            return value
        near = get_close_matches(value, RUNGS, 1) if isinstance(value, str) else []
        right = f"Write {near[0]}" if near else f"There are, from mild to sharp: {', '.join(RUNGS)}"
        self.wrong(key, "is missing" if value is None else f"there is no rung {_short(value)}", right)
        return ""

    def floors(self) -> Mapping[LimitName, float]:
        """What limits never go below."""
        found: dict[LimitName, float] = {LimitName.CPUS: DEFAULT_MIN_CPUS}
        for key, (parse, limits, right) in FLOORS.items():
            value = self._value(key)
            if value is None:
                continue
            try:
                number = parse(str(value)) if not isinstance(value, bool) else None
            except InvalidError:
                number = None
            if number is None or isinstance(number, Unlimited):
                self.wrong(key, f"must be {right}; not {_short(value)}")
            else:
                found |= dict.fromkeys(limits, float(number))
        return found

    def _value(self, key: str) -> Any:
        self._asked[key] = None
        return self._values.get(key)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT_CHARACTERS and "\0" not in value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _why_not_run(program: str) -> str:
    """Why the guard does not run a program, in words; "" when it does. Links are followed, as to run it."""
    if not program.startswith("/"):
        return "give the whole path of the program"
    try:
        status = os.stat(program)
    except OSError as error:
        return error.strerror or "it cannot be looked at"
    if not os.path.isfile(program) or not os.access(program, os.X_OK):  # noqa: PTH113
        return "it cannot be executed"
    return trusted_file.why_not_trusted(status, frozenset({0, os.geteuid()}))
