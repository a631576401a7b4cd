"""The suite's report: engine by verb and limit, with pass, refused as declared, or fail.

A test of a cell calls `cell` (a fixture) with what it is about and how it came out. The table is printed at the end of
the run and written to the file that PYTOP_REPORT names. A test that was chosen and ran without filling its cell makes
the run fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from runtime.model import LimitName, Verb

ENGINES: Final = ("fake", "embedded", "docker", "podman", "containerd")
PASS, REFUSED, FAIL, AWAY = "pass", "refused as declared", "FAIL", "not here"
What = Verb | LimitName
Cell = Callable[[What, str], None]


@dataclass(slots=True)
class Table:
    """What the tests have said so far, by engine and verb or limit, and the cells whose tests were chosen."""

    cells: dict[tuple[str, str], str] = field(default_factory=dict)
    wanted: set[tuple[str, str]] = field(default_factory=set)

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


def about(item: pytest.Item) -> tuple[str, str] | None:
    """The cell of a test, which is one with the parameters `subject` and `what`."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    what = parameters.get("what")
    return (str(parameters["subject"]), what.value) if isinstance(what, Verb | LimitName) else None


def want(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note the cells of the tests that will run."""
    table(config).wanted.update(cell for cell in map(about, items) if cell is not None)


def take(item: pytest.Item, report: pytest.TestReport) -> None:
    """What a test has said of its cell. A failed test's is a failure, whatever it said before."""
    cell, cells = about(item), table(item.config).cells
    if cell is None:
        return
    for name, value in report.user_properties:
        if name == "cell":
            cells.setdefault(cell, str(value))
    if report.failed:
        cells[cell] = FAIL
    elif report.skipped:
        cells[cell] = AWAY


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
