"""How the headless core is written: short constructors, imports at the top, no screen, one name for each class."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CORE = sorted((ROOT / "tui/core").rglob("*.py"))
MAX_POSITIONAL = 6
OWN = ("tui", "collectors", "runtime", "themes")


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def positional(node: ast.ClassDef) -> int:
    """How many arguments its constructor takes by position."""
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return len(member.args.args) - 1
    if not any("dataclass" in ast.dump(each) for each in node.decorator_list):
        return 0
    fields = [ast.unparse(each.annotation) for each in node.body if isinstance(each, ast.AnnAssign)]
    return fields.index("KW_ONLY") if "KW_ONLY" in fields else len(fields)


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_of_the_core(path: Path) -> None:
    tree = parsed(path)
    nodes = list(ast.walk(tree))
    assert [each.name for each in nodes if isinstance(each, ast.ClassDef) and positional(each) > MAX_POSITIONAL] == []
    starred = [arg.lineno for each in nodes if isinstance(each, ast.Call) for arg in each.args if _literal_star(arg)]
    assert starred == [], "arguments that are packed into a tuple and unpacked"
    late = [each.lineno for function in nodes if isinstance(function, FUNCTIONS) for each in own_imports(function)]
    assert late == [], "our own modules are imported at the top"


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _literal_star(arg: ast.expr) -> bool:
    return isinstance(arg, ast.Starred) and isinstance(arg.value, ast.Tuple)


def own_imports(function: ast.AST) -> Iterator[ast.stmt]:
    for node in ast.walk(function):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.split(".")[0] in OWN for name in names):
            assert isinstance(node, ast.stmt)
            yield node


def test_the_session_imports_no_screen() -> None:
    code = "import sys, tui.core.session, tui.core.settings, tui.core.actions;"
    code += "print([m for m in sys.modules if m.split('.')[0] in ('textual', 'rich') or m.startswith('tui.present')])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def top_classes(*tops: str) -> Iterator[str]:
    for top in tops:
        for path in (ROOT / top).rglob("*.py"):
            yield from (node.name for node in parsed(path).body if isinstance(node, ast.ClassDef))


def test_each_class_of_tui_has_a_name_of_its_own() -> None:
    everywhere = Counter(top_classes(*OWN))
    assert {name for name in top_classes("tui") if not name.startswith("_") and everywhere[name] > 1} == set()
