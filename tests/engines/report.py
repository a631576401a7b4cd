"""The suite's report: engine by verb and limit, with pass, refused as declared, or fail.

A test of a cell calls `cell` (a fixture) with what it is about and how it came out. The table is printed at the end of
the run and written to the file that PYTOP_REPORT names; a cell that no test has filled makes a whole run fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from runtime.model import LimitName, Verb

ENGINES: Final = ("embedded", "docker", "podman", "containerd")
PASS, REFUSED, FAIL = "pass", "refused as declared", "FAIL"
What = Verb | LimitName
Cell = Callable[[What, str], None]


@dataclass(slots=True)
class Table:
    """What is known so far; `whole` when every cell's test was asked for."""

    cells: dict[tuple[str, str], str] = field(default_factory=dict)
    wanted: set[tuple[str, str]] = field(default_factory=set)
    failed: bool = False

    def lines(self) -> list[str]:
        rows = [("verb", verb.value) for verb in Verb] + [("limit", name.value) for name in LimitName]
        width = max(len(text) for text in (*ENGINES, PASS, REFUSED, FAIL)) + 2
        found = [f"{'':<26}" + "".join(f"{engine:<{width}}" for engine in ENGINES)]
        for kind, what in rows:
            states = (self.cells.get((engine, what), "-") for engine in ENGINES)
            found.append(f"{kind:<7}{what:<19}" + "".join(f"{state:<{width}}" for state in states).rstrip())
        return found

    def empty(self) -> list[str]:
        """Cells whose tests were chosen and that nobody has filled."""
        return sorted(f"{engine} {what}" for engine, what in self.wanted - self.cells.keys())


KEY: Final = pytest.StashKey[Table]()


def table(config: pytest.Config) -> Table:
    return config.stash.setdefault(KEY, Table())


def want(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note the cells of the tests that will run: those with parameters `subject` and `what`."""
    found = table(config)
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if isinstance(parameters.get("what"), Verb | LimitName):
            found.wanted.add((str(parameters["subject"]), parameters["what"].value))


def take(config: pytest.Config, report: pytest.TestReport) -> None:
    """A failed test's cell is a failure, whatever it said before."""
    for name, value in report.user_properties:
        if name == "cell":
            engine, what, state = value
            table(config).cells[engine, what] = state
    if report.failed:
        for name, value in report.user_properties:
            if name == "about":
                table(config).cells[tuple(value)] = FAIL


def show(terminal: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = table(config)
    if not found.cells:
        return
    terminal.section("engines: verbs and limits")
    for line in found.lines():
        terminal.write_line(line)
    if os.environ.get("PYTOP_REPORT"):
        Path(os.environ["PYTOP_REPORT"]).write_text("\n".join(found.lines()) + "\n")
    if found.empty():
        terminal.write_line(f"NOT FILLED: {', '.join(found.empty())}", red=True)
