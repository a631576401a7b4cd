"""No constructor takes more than six positional arguments: nobody can read which is which at the call."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_POSITIONAL = 6
# Made for each container in every sweep, where keywords cost; tests/unit/collectors/sampling names every field of them.
FAST = {"Usage", "Sample", "MemoryGauges"}


def constructors(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The classes of a module, each with the positional arguments that its constructor takes."""
    for found in ast.walk(tree):
        if not isinstance(found, ast.ClassDef):
            continue
        written = [each for each in found.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
        if written:
            arguments = written[0].args
            yield found.name, len(arguments.posonlyargs) + len(arguments.args) - 1
        elif made := [text for text in map(ast.unparse, (*found.decorator_list, *found.bases)) if _makes_one(text)]:
            yield found.name, 0 if any("kw_only=True" in text for text in made) else _fields(found)


def _makes_one(text: str) -> bool:
    return text.startswith("dataclass") or text == "NamedTuple"


def _fields(found: ast.ClassDef) -> int:
    count = 0
    for each in found.body:
        if isinstance(each, ast.AnnAssign):
            kind = ast.unparse(each.annotation)
            if kind == "KW_ONLY":
                break
            count += "ClassVar" not in kind
    return count


def test_no_constructor_takes_more_than_six_positional_arguments() -> None:
    seen = 0
    for package in ("tui", "collectors", "runtime", "themes"):
        for path in (ROOT / package).rglob("*.py"):
            for name, count in constructors(ast.parse(path.read_text())):
                seen += 1
                assert count <= MAX_POSITIONAL or name in FAST, f"{path}: {name} takes {count}"
    assert seen > 100, "nearly nothing was looked at"


def test_what_is_counted() -> None:
    text = """
@dataclass
class A:
    a: int
    b: ClassVar[int] = 1
    _: KW_ONLY
    c: int
@dataclass(slots=True, kw_only=True)
class B:
    a: int
class C(NamedTuple):
    a: int
    b: int
class D:
    def __init__(self, a, b, /, c, *, d): ...
class E: ...
"""
    assert dict(constructors(ast.parse(text))) == {"A": 1, "B": 0, "C": 2, "D": 3}
