"""Which of our modules import which, by their source; type-checking imports and those inside functions count too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("tui", "collectors", "runtime", "themes")
_MODULE = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.[a-z_]+)+")
_STATEMENT = re.compile(rf"\b(?:from|import) ((?:{'|'.join(PACKAGES)})(?:\.[a-z_]+)+)")
LOADERS: Final = frozenset({"import_module", "__import__"})


@dataclass(frozen=True, slots=True)
class Import:
    """One import of a module of ours by another."""

    source: str
    target: str
    line: int
    in_function: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A module of ours."""

    name: str
    tree: ast.Module
    is_package: bool


def modules(root: Path = ROOT) -> dict[str, Source]:
    """Every module of the four packages by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            found[name] = Source(name, ast.parse(path.read_text()), is_package)
    return found


def imports(sources: Mapping[str, Source]) -> Iterator[Import]:
    """Every import of one of these modules by another one of them."""
    for source in sources.values():
        inside = {id(node) for node in _in_functions(source.tree)}
        for node in ast.walk(source.tree):
            for target in _targets(node, source, sources):
                if target != source.name:
                    yield Import(source.name, target, node.lineno, id(node) in inside)  # type: ignore[attr-defined]


def imported(source: Source) -> Iterator[str]:
    """Every name that a module imports, whoever it belongs to: "rich.cells" for `from rich import cells`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_in_functions(source: Source) -> Iterator[str]:
    """Every name that is imported inside a function."""
    for node in _in_functions(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def named_in_strings(source: Source) -> Iterator[str]:
    """Modules of ours that a text names as a whole ("tui.demo.guardian") or as an import statement."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            whole = _MODULE.fullmatch(node.value)
            yield from [node.value] if whole else _STATEMENT.findall(node.value)


def loads_by_name(sources: Mapping[str, Source]) -> Iterator[str]:
    """The modules that call `import_module` or `__import__`."""
    for source in sources.values():
        for node in ast.walk(source.tree):
            called = node.func if isinstance(node, ast.Call) else None
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", None)
            if name in LOADERS:
                yield source.name


def circles(edges: Mapping[str, frozenset[str]]) -> list[list[str]]:
    """The groups of modules that reach one another, each sorted (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for beside in edges.get(node, frozenset()):
            if beside not in index:
                visit(beside)
                low[node] = min(low[node], low[beside])
            elif beside in stack:
                low[node] = min(low[node], index[beside])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in edges:
        if node not in index:
            visit(node)
    return sorted(found)


def reached(start: str, edges: Mapping[str, frozenset[str]]) -> set[str]:
    """Every module that is imported by this one, directly or not."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for beside in edges.get(waiting.pop(), frozenset()) - found:
            found.add(beside)
            waiting.append(beside)
    return found


def _in_functions(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from (inner for inner in ast.walk(node) if isinstance(inner, (ast.Import, ast.ImportFrom)))


def _targets(node: ast.AST, source: Source, sources: Mapping[str, Source]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in sources)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = source.name.split(".")
            parts = parts[: len(parts) - node.level + source.is_package]
            base = ".".join([*parts, base] if base else parts)
        for alias in node.names:
            name = f"{base}.{alias.name}"
            if name in sources:
                yield name
            elif base in sources:
                yield base
