"""Try one mutant: the tests that run its line, in a copy of the tree, until one fails."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from coverage import CoverageData

from tests.mutants.mutations import ROOT, Mutant

COPIED = ("runtime", "collectors", "tui", "themes", "tests", "pyproject.toml", "README.md", "Makefile", "docs", ".ci")
TIMEOUT_S = 90  # of one round of tests; a mutant that loops for ever is found by it
FIRST_TESTS = 60
"""How many tests are tried before all: those that run the fewest other lines say most about this one."""
MEMORY_BYTES = 4 << 30
NO_ROOT_TESTS = ("tests/unit",)


def coverage(folder: Path) -> tuple[CoverageData, set[str]]:
    """Run the tests once: which test has run which line, and which tests fail without any mutant, so say nothing."""
    data = folder / "coverage"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "logical", *NO_ROOT_TESTS]
    command += ["--cov", "--cov-context=test", "--cov-report="]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "COVERAGE_FILE": str(data)}, capture_output=True, text=True, check=False
    )
    failed = {line.split(" ", 2)[1] for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))}
    if done.returncode > 1:
        raise RuntimeError(f"the tests do not run:\n{done.stdout[-4000:]}")
    found = CoverageData(str(data))
    found.read()
    return found, failed


class Contexts:
    """Which tests run a line, the most specific first."""

    def __init__(self, data: CoverageData, failed: set[str], paths: Sequence[str]) -> None:
        self._left_out = failed | {""}
        self._by_line: dict[str, Mapping[int, list[str]]] = {}
        lines_of: dict[str, int] = defaultdict(int)
        for path in paths:
            by_line = data.contexts_by_lineno(str(ROOT / path))
            for tests in by_line.values():
                for test in tests:
                    lines_of[test] += 1
            self._by_line[path] = by_line
        self._lines_of = lines_of

    def of(self, mutant: Mutant) -> list[str]:
        """Ids of tests. Of a line that runs at import: those of every line of its file, then all of its package."""
        by_line = self._by_line[mutant.path]
        named = {_test(context) for context in by_line.get(mutant.line, ())} - self._left_out
        if named:
            return self._in_order(named)
        named = {_test(context) for contexts in by_line.values() for context in contexts} - self._left_out
        package = f"tests/unit/{mutant.path.rpartition('/')[0]}"
        return [*self._in_order(named), *([package] if (ROOT / package).is_dir() else [])]

    def _in_order(self, tests: set[str]) -> list[str]:
        return sorted(tests, key=lambda test: self._lines_of.get(f"{test}|run", 0))


def _test(context: str) -> str:
    return context.rpartition("|")[0]


class Tree:
    """A copy of the project in which one file at a time is wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, folder / name)
        compileall = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "."]
        subprocess.run(compileall, cwd=folder, check=True)  # by hash: a file changed twice in a second is seen

    def found(self, mutant: Mutant, tests: Sequence[str]) -> bool:
        """Whether a test fails with it."""
        file = self.folder / mutant.path
        right = file.read_bytes()
        file.write_text(mutant.code)
        try:
            return self._fails(tests[:FIRST_TESTS]) or (len(tests) > FIRST_TESTS and self._fails(tests[FIRST_TESTS:]))
        finally:
            file.write_bytes(right)

    def _fails(self, tests: Sequence[str]) -> bool:
        listed = self.folder / "tests.txt"
        listed.write_text("".join(f"{test}\n" for test in tests))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", f"@{listed}"]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=TIMEOUT_S,
                preexec_fn=_bound_memory,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True
        return done.returncode != 0


def _bound_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
