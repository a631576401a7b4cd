"""One table of a policy file: takes its values by key, and collects what is wrong with them."""

from __future__ import annotations

import math
import os
import pwd
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from runtime.errors import InvalidError, PytopError
from runtime.kernel import trusted_file
from runtime.limits.units import parse_bytes, parse_count, parse_cpus, parse_rate
from runtime.model import LimitName, Unlimited
from tui.core.guard.policy import DEFAULT_MIN_CPUS, RUNGS

MAX_PATTERNS: Final = 200  # of one key
MAX_TEXT_CHARACTERS: Final = 4096
MAX_SHOWN_CHARACTERS: Final = 60
FLOORS: Final[Mapping[str, tuple[Callable[[str], float | Unlimited], tuple[LimitName, ...], str]]] = {
    "min_cpus": (parse_cpus, (LimitName.CPUS,), "0.2"),
    "min_memory": (parse_bytes, (LimitName.MEMORY, LimitName.MEMORY_HIGH), '"256m"'),
    "min_io": (parse_bytes, (LimitName.IO_READ_BPS, LimitName.IO_WRITE_BPS), '"5m"'),
    "min_net": (parse_rate, (LimitName.NET_EGRESS, LimitName.NET_INGRESS), '"10mbit"'),
    "min_tasks": (parse_count, (LimitName.PIDS,), "64"),
}
"""By key: what reads its text, the limits that never go below it, and an example."""


class PolicyError(InvalidError):
    """Something in a policy is wrong: where, what, and what is right."""

    def __init__(self, path: str, place: str, what: str, right: str = "") -> None:
        title = "read the guard's policy"
        super().__init__(title, detail=": ".join(filter(None, (place, what))), hint=right, path=path)


class PolicyTable:
    """One table of the file.

    Attributes:
        path: the file.
        errors: those of the whole file.
    """

    def __init__(
        self, values: Mapping[str, Any], path: str, name: str = "", errors: list[PytopError] | None = None
    ) -> None:
        """`name` is where it is, "protect[2]"; "" for the whole file."""
        self.path = path
        self.errors: list[PytopError] = [] if errors is None else errors
        self._name = name
        self._values = values
        self._asked: dict[str, None] = {}
        self._errors_before = len(self.errors)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    @property
    def has_errors(self) -> bool:
        """Something in this table is wrong."""
        return len(self.errors) > self._errors_before

    def place(self, key: str = "") -> str:
        """Where a key of this table is, for an error."""
        return ".".join(filter(None, (self._name, key)))

    def reject_unknown(self) -> None:
        """Note every key that nothing has asked for, with the nearest that there is."""
        for key in self._values.keys() - self._asked.keys():
            what = PolicyError(self.path, self.place(key), "there is no such key", _nearest(key, self._asked))
            self.errors.append(what)

    def tables(self, key: str, *, required: bool = False) -> list[PolicyTable]:
        """The entries [[key]], at least one when they are required."""
        found = self._value(key)
        if (found is None or found == []) and not required:
            return []
        if not isinstance(found, list) or not found or not all(isinstance(entry, Mapping) for entry in found):
            self.errors.append(
                PolicyError(
                    self.path,
                    self.place(key),
                    "it is no list of tables" if found else "there must be at least one",
                    f"Write [[{key}]] on a line of its own above each entry",
                )
            )
            return []
        return [
            PolicyTable(entry, self.path, f"{key}[{number}]", self.errors)
            for number, entry in enumerate(found, start=1)
        ]

    def flag(self, key: str) -> bool:
        """A switch, off by default."""
        value = self._value(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.errors.append(PolicyError(self.path, self.place(key), f"must be true or false, not {_short(value)}"))
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
        if not is_number or not low <= value <= high or not math.isfinite(value):
            wrong = f"{low:g} to {high:g}, not {_short(value)}"
            self.errors.append(PolicyError(self.path, self.place(key), f"must be a number from {wrong}"))
            return None
        return float(value)

    def patterns(self, key: str) -> tuple[str, ...]:
        """One text or a list of texts, none of them empty."""
        value = self._value(key)
        if value is None:
            return ()
        found = _texts([value] if isinstance(value, str) else value)
        if not found:
            self.errors.append(
                PolicyError(
                    self.path,
                    self.place(key),
                    f"must be a pattern or a list of patterns, not {_short(value)}",
                    f'For example {key} = "batch-*"',
                )
            )
        return found

    def command(self, key: str) -> tuple[str, ...]:
        """A command as a list of words, whose program is there and nobody else may write."""
        value = self._value(key)
        if value is None:
            return ()
        found = _texts(value)
        if reason := _why_not_run(found):
            self.errors.append(
                PolicyError(
                    self.path,
                    self.place(key),
                    f"{_short(value)}: {reason}",
                    f'For example {key} = ["/usr/local/bin/p99", "--of", "api"]; there is no shell',
                )
            )
        return found

    def user(self, key: str) -> str:
        """The name of a user of this machine."""
        value = self._value(key)
        if value is None:
            return ""
        try:
            uid = pwd.getpwnam(value).pw_uid if _texts([value]) else None
        except KeyError:
            uid = None
        if uid is None:
            self.errors.append(
                PolicyError(self.path, self.place(key), f"there is no user {_short(value)}", 'For example "nobody"')
            )
        elif os.geteuid() not in (0, uid):
            self.errors.append(
                PolicyError(
                    self.path,
                    self.place(key),
                    "only root's guard may run a command as another user",
                    "Leave it out: the command runs as you",
                )
            )
        return str(value)

    def rung(self, key: str) -> str:
        """How far an entry goes; it must be given."""
        value = self._value(key)
        if isinstance(value, str) and value in RUNGS:
            return value
        self.errors.append(
            PolicyError(
                self.path,
                self.place(key),
                "must be given" if value is None else f"there is no {_short(value)}",
                _nearest(value, RUNGS),
            )
        )
        return RUNGS[0]

    def floors(self) -> Mapping[LimitName, float]:
        """What limits never go below."""
        found: dict[LimitName, float] = {LimitName.CPUS: DEFAULT_MIN_CPUS}
        for key, (parse, limits, example) in FLOORS.items():
            value = self._value(key)
            if value is None:
                continue
            try:
                number = parse(str(value)) if not isinstance(value, bool) else None
            except InvalidError:
                number = None
            if number is None or isinstance(number, Unlimited):
                self.errors.append(
                    PolicyError(
                        self.path, self.place(key), f"it cannot be {_short(value)}", f"For example {key} = {example}"
                    )
                )
            else:
                found |= dict.fromkeys(limits, float(number))
        return found

    def _value(self, key: str) -> Any:
        self._asked[key] = None
        return self._values.get(key)


def _texts(value: object) -> tuple[str, ...]:
    """The texts of a list, none when one of them is no text, is empty or has a NUL."""
    if not isinstance(value, list) or len(value) > MAX_PATTERNS:
        return ()
    right = all(isinstance(each, str) and 0 < len(each) <= MAX_TEXT_CHARACTERS and "\0" not in each for each in value)
    return tuple(value) if right else ()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "..."


def _nearest(word: object, known: Iterable[str]) -> str:
    """What to write in place of a wrong word: the nearest one, else all that there are."""
    there = list(known)
    near = get_close_matches(word, there, 1) if isinstance(word, str) else []
    return f"Write {near[0]}" if near else f"There are: {', '.join(there)}"


def _why_not_run(words: tuple[str, ...]) -> str:
    """Why the guard does not run a command, "" when it does. Links are followed, as to run it."""
    detail = ""
    program = words[0] if words else ""
    try:
        status = os.stat(program) if program.startswith("/") else None
        if not words:
            detail = "it must be a list of words"
        elif status is None:
            detail = "give the whole path of the program"
        elif not os.path.isfile(program) or not os.access(program, os.X_OK):  # noqa: PTH113
            detail = "it cannot be executed"
        else:
            detail = trusted_file.why_not_trusted(status, frozenset({0, os.geteuid()}))
    except OSError as error:
        detail = error.strerror or str(error)
    return detail
