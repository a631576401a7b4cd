"""What can be mutated: which modules, and every mutation that mutmut's operators make of them."""

from __future__ import annotations

import difflib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import create_mutations

ROOT = Path(__file__).resolve().parents[2]
PATTERNS = (
    "runtime/limits/**/*.py",
    "collectors/sampling/*.py",
    "runtime/oci/*.py",
    "runtime/engines/*/translate.py",
    "runtime/engines/*/update.py",
    "runtime/engines/*/resources.py",
    "runtime/engines/*/limits.py",
    "runtime/engines/*/state/record.py",
)
"""Limits, sampling, and what of the engines is pure: functions of documents to documents."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mutation of one file. `line` is where it begins, counted from 1."""

    path: str
    line: int
    code: str

    @property
    def diff(self) -> str:
        """The changed lines, without context."""
        before = (ROOT / self.path).read_text().splitlines()
        lines = difflib.unified_diff(before, self.code.splitlines(), n=0, lineterm="")
        return "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))

    @property
    def package(self) -> str:
        return "/".join(self.path.split("/")[:2])

    @property
    def key(self) -> str:
        """Names it in `equivalent.REASONS`: the file and the changed lines; line numbers change too often."""
        return f"{self.path}\n{self.diff}"


def files() -> list[str]:
    found = {path.relative_to(ROOT).as_posix() for pattern in PATTERNS for path in ROOT.glob(pattern)}
    return sorted(path for path in found if not path.endswith("__init__.py"))


def draw(count: int, seed: int, paths: Sequence[str]) -> list[Mutant]:
    """`count` of all mutations of these files, each as likely as another."""
    sites = [(path, number) for path in paths for number in range(_count(path))]
    chosen = random.Random(seed).sample(sites, min(count, len(sites)))
    return [mutant for path in paths for mutant in _mutants(path, [n for p, n in chosen if p == path])]


def _count(path: str) -> int:
    return len(create_mutations(path, (ROOT / path).read_text())[1])


def _mutants(path: str, numbers: Sequence[int]) -> list[Mutant]:
    if not numbers:
        return []
    module, mutations, *_ = create_mutations(path, (ROOT / path).read_text())
    positions = MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)
    made = []
    for number in sorted(numbers):
        mutation = mutations[number]
        changed = module.deep_replace(mutation.original_node, mutation.mutated_node)
        assert isinstance(changed, cst.Module)
        made.append(Mutant(path, positions[mutation.original_node].start.line, changed.code))
    return made
