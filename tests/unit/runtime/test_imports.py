"""What is imported where: heavy libraries on demand, nothing of our own inside functions of the lower floors."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOWER = ("runtime/model", "runtime/kernel", "runtime/limits", "runtime/oci")


@pytest.mark.parametrize("library", ["jeepney", "pyroute2", "aiohttp", "grpclib", "textual"])
def test_limits_import_no_heavy_library(library: str) -> None:
    code = f"import sys, runtime.limits, runtime.oci.resources; sys.exit({library!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30).returncode == 0


@pytest.mark.parametrize("folder", LOWER)
def test_functions_import_nothing_of_our_own(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = [
        f"{path.relative_to(ROOT)}:{inner.lineno}"
        for path in files
        for outer in ast.walk(ast.parse(path.read_text()))
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
        if isinstance(inner, ast.ImportFrom | ast.Import) and "runtime" in ast.unparse(inner)
    ]
    assert found == []
