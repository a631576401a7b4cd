"""How our modules import one another: no circle, none inside a function, by name in three registries only."""

from __future__ import annotations

import importlib
import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from textual.screen import Screen

from runtime.engines.discovery import ENGINES
from tests.unit import import_graph
from tests.unit.import_graph import Import
from tui.app.screens.registry import SCREENS
from tui.cli import verbs

REGISTRIES = {"tui.cli.verbs", "runtime.engines.discovery", "tui.app.screens.registry"}
FLOORS = (
    "tui.__main__",
    "tui.cli",
    "tui.demo",
    "tui.app",
    "tui.present",
    "tui.core",
    "collectors",
    "runtime",
)
"""From top to bottom: a module imports only from its own floor and from those below; `themes` is beside them."""
SOURCES = import_graph.modules()
IMPORTS = list(import_graph.imports(SOURCES))


def edges(found: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    targets: dict[str, set[str]] = defaultdict(set)
    for source, target in found:
        targets[source].add(target)
    return {source: frozenset(names) for source, names in targets.items()}


STATIC = edges((each.source, each.target) for each in IMPORTS)


def by_name() -> Iterator[tuple[str, str]]:
    """What the registries load, as if it were imported."""
    for module, _ in verbs.VERBS.values():
        yield "tui.cli.verbs", module
    for module in (verbs.COMMAND_LINE, verbs.DASHBOARD, *verbs.ON_SCREEN.values()):
        yield "tui.cli.verbs", module
    for module, _ in SCREENS.values():
        yield "tui.app.screens.registry", module
    for module, _ in ENGINES.values():
        yield "runtime.engines.discovery", module


def floor(module: str) -> int:
    (found,) = (i for i, name in enumerate(FLOORS) if module == name or module.startswith(f"{name}."))
    return found


def test_every_module_is_on_a_floor() -> None:
    outside = {"tui", "runtime", "collectors", "themes", "themes.loader", "themes.schema"}
    for name in SOURCES.keys() - outside:
        assert floor(name) in range(len(FLOORS))


def test_nothing_but_tui_is_imported_before_the_packages_are_known_to_be_in_place() -> None:
    assert STATIC["tui.__main__"] == {"tui.cli.verbs", "tui.present.locale_signs"}
    assert not {"tui", "tui.cli", "tui.cli.verbs", "tui.present", "tui.present.locale_signs"} & STATIC.keys()


def test_collectors_import_of_runtime_only_the_model_the_errors_and_the_kernel() -> None:
    below = {each.target for each in IMPORTS if each.source.startswith("collectors") and each.target != "runtime"}
    rooms = {".".join(name.split(".")[:2]) for name in below if name.startswith("runtime.")}
    assert rooms == {"runtime.model", "runtime.errors", "runtime.kernel"}


def test_cells_are_all_that_present_uses_of_rich() -> None:
    used = {
        (source.name, name)
        for source in SOURCES.values()
        if source.name.startswith("tui.present")
        for name in import_graph.imported(source)
        if name.split(".")[0] == "rich"
    }
    assert used == {("tui.present.cells", "rich.cells")}


def test_no_circle() -> None:
    assert import_graph.circles(STATIC) == []


def test_no_module_of_this_project_is_imported_inside_a_function() -> None:
    assert [each for each in IMPORTS if each.in_function] == []


def test_inside_functions_only_heavy_libraries_are_imported() -> None:
    heavy = {"textual", "rich", "aiohttp", "pyroute2", "google", "grpclib", "jeepney", "psutil"}
    found = {name.split(".")[0] for source in SOURCES.values() for name in import_graph.imported_in_functions(source)}
    assert found - heavy - set(import_graph.PACKAGES) == set()


def test_programs_that_are_started_by_name_exist() -> None:
    """What another interpreter is told to import: `-m tui.demo.guardian`, the zygote's first line, a logger."""
    found = {name for source in SOURCES.values() for name in import_graph.named_in_strings(source)}
    assert {"tui.demo.guardian", "runtime.engines.embedded.process.zygote"} <= found
    assert found - SOURCES.keys() == set()


def test_modules_are_loaded_by_name_in_the_three_registries_only() -> None:
    assert set(import_graph.loads_by_name(SOURCES)) == REGISTRIES


@pytest.mark.parametrize("verb", verbs.VERBS)
def test_each_verb_has_a_module_that_configures_a_parser(verb: str) -> None:
    module, summary = verbs.VERBS[verb]
    assert module.startswith("tui.cli.")
    assert summary
    assert list(inspect.signature(importlib.import_module(module).configure).parameters) == ["parser", "verb"]


def test_what_the_registry_of_verbs_names_beside_the_verbs() -> None:
    assert callable(importlib.import_module(verbs.COMMAND_LINE).run)
    assert callable(importlib.import_module(verbs.DASHBOARD).main)
    assert callable(importlib.import_module(verbs.ON_SCREEN["dashboard"]).run)
    assert callable(importlib.import_module(verbs.ON_SCREEN["demo"]).play)
    assert set(verbs.ON_SCREEN) == {"dashboard", "demo"}


@pytest.mark.parametrize("name", SCREENS)
def test_each_screen_has_a_class_in_a_module_of_screens(name: str) -> None:
    module, kind = SCREENS[name]
    assert module.startswith("tui.app.screens.")
    assert issubclass(getattr(importlib.import_module(module), kind), Screen)


@pytest.mark.parametrize("kind", ENGINES)
def test_each_engine_has_a_class_in_its_own_package(kind: str) -> None:
    module, name = ENGINES[kind]
    assert module.startswith(f"runtime.engines.{kind}.")
    engine = getattr(importlib.import_module(module), name)
    assert inspect.isclass(engine)
    assert engine.__module__ == module


@pytest.mark.parametrize(("source", "target"), sorted(set(by_name())))
def test_what_is_loaded_by_name_keeps_the_order_of_the_floors(source: str, target: str) -> None:
    assert target in SOURCES
    assert floor(source) <= floor(target)
    screens = {module for module in import_graph.reached(target, STATIC) if module.startswith("tui.app")}
    assert not screens or source.startswith("tui.app.") or target in verbs.ON_SCREEN.values(), (
        "Textual comes only with what draws on the terminal"
    )


@pytest.mark.parametrize("kind", ENGINES)
def test_no_engine_reaches_another_one_by_name_either(kind: str) -> None:
    whole = edges([*((each.source, each.target) for each in IMPORTS), *by_name()])
    reached = import_graph.reached(ENGINES[kind][0], whole)
    others = tuple(f"runtime.engines.{other}." for other in ENGINES if other != kind)
    assert [module for module in sorted(reached) if module.startswith(others)] == []


def test_the_graph_sees_every_kind_of_import(tmp_path: Path) -> None:
    package = tmp_path / "runtime"
    package.mkdir()
    (package / "__init__.py").write_text("from .a import x\n")
    (package / "a.py").write_text("def f():\n    import runtime.b\n")
    (package / "b.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from runtime import c\n")
    (package / "c.py").write_text("import importlib\nfrom . import a\nimportlib.import_module('runtime.b')\n")
    sources = import_graph.modules(tmp_path)
    found = list(import_graph.imports(sources))
    assert found == [
        Import("runtime", "runtime.a", 1, False),
        Import("runtime.a", "runtime.b", 2, True),
        Import("runtime.b", "runtime.c", 3, False),
        Import("runtime.c", "runtime.a", 2, False),
    ]
    assert import_graph.circles(edges((each.source, each.target) for each in found)) == [
        ["runtime.a", "runtime.b", "runtime.c"]
    ]
    assert list(import_graph.loads_by_name(sources)) == ["runtime.c"]
