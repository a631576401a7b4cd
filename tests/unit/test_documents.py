"""What the documents say of the tree, of make, of the command line and of the keys is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from textual.keys import format_key

from tui.app.keymap import bound
from tui.cli import exits
from tui.cli.verbs import VERBS
from tui.core.keys import IDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs/containment.md",
    "docs/faults.md",
    "docs/performance.md",
)
FILE = re.compile(r"`((?:tui|runtime|collectors|themes|tests|docs|requirements)/[\w./-]+|[\w-]+\.(?:md|toml))`")
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
"""A block, or a part of a line."""
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
TARGET = re.compile(r"\bmake ([a-z][a-z0-9-]*)")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_named_by_its_path_is_there(name: str) -> None:
    found = FILE.findall(text(name))
    assert found
    gone = [path for path in found if not (ROOT / path).exists() and not (ROOT / f"{path}.py").exists()]
    assert [path for path in gone if "NAME" not in path and path != "config.toml"] == []


def test_each_fault_has_its_test() -> None:
    rows = [line for line in text("docs/faults.md").splitlines() if re.match(r"\| [A-E]\d+ ", line)]
    assert rows
    for row in rows:
        found = TEST.findall(row)
        assert found, row
        assert [name for path, name in found if f"def {name}(" not in text(path)] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_target_of_make_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", text("Makefile"), re.M))
    named = {target for block, line in CODE.findall(text(name)) for target in TARGET.findall(block or line)}
    assert named - targets == set()


def test_exit_codes_of_the_readme_are_those_of_the_program() -> None:
    (table,) = re.findall(r"\| exit code \| meaning \|\n\|[-|]+\n((?:\|.*\n)+)", text("README.md"))
    told = {int(code) for line in table.splitlines() for code in re.findall(r"\d+", line.split("|")[1])}
    assert told == {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}


def test_every_verb_is_in_the_readme() -> None:
    words = set(re.findall(r"[a-z]+", text("README.md")))
    assert set(VERBS) - words == set()


def test_every_key_of_the_readme_is_bound() -> None:
    (table,) = re.findall(r"\| key \| what \| key \| what \|\n\|[-|]+\n((?:\|.*\n)+)", text("README.md"))
    told = {key for line in table.splitlines() for key in re.findall(r"`([^`]+)`", line)}
    ours = {format_key(key) for id in IDS for key in bound(id, {})}
    assert told - ours == set()
    assert told
