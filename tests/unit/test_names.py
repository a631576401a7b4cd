"""Names of the four packages: a class name is defined once, a constant names its unit, old names do not come back."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from tests.unit.import_graph import Source, modules

SOURCES: Final = {name: source for name, source in modules().items() if not name.endswith("_pb2")}
UNITS: Final = frozenset(
    (
        *("S", "MS", "US", "NS", "BYTES", "CORES", "IOPS"),
        *("CELLS", "LINES", "ROWS", "COLUMNS", "CHARACTERS", "DIGITS"),
        *("FDS", "FILES", "FRAMES", "PIDS", "PROCESSES", "SLOTS", "SWEEPS"),
        *("FACTOR", "PX", "RANK", "SHARE", "SHARES", "WEIGHT"),
        *("FD", "UID", "PART", "PORT"),
    )
)
"""The last word of a constant's name: its unit, the thing that it counts, or the kind of number that it is."""
EXTREMES: Final = frozenset({"MAX", "MIN"})
"""Words of a name that also says what is counted: MAX_ATTEMPTS, MIN_IDLE_VERSION."""
KERNEL_INTERFACES: Final = frozenset(
    {
        "runtime.kernel.forwarding",
        "runtime.kernel.inotify",
        "runtime.kernel.libseccomp",
        "runtime.kernel.loop",
        "runtime.kernel.netlink",
        "runtime.kernel.ownership",
        "runtime.kernel.project_quota",
        "runtime.kernel.qdisc",
        "runtime.kernel.syscalls",
        "runtime.engines.embedded.sandbox.devices",
        "runtime.engines.embedded.sandbox.seccomp",
    }
)
"""Modules whose constants are flags, numbers of calls and operation codes with the names of the kernel's headers."""
UNITLESS: Final[Mapping[str, frozenset[str]]] = {
    "flags and numbers of the kernel's headers": frozenset(
        {
            *("_AF_INET", "_RT_TABLE_LOCAL", "_SIOCSIFFLAGS", "_IFF_UP", "_IFF_RUNNING", "_IFF_LOOPBACK"),
            *("_F_ADD_SEALS", "_ALL_SEALS", "_TC_H_ROOT", "QDISC_HANDLE", "NEW_NAMESPACES"),
            *("IDLE_IO_PRIORITY", "OOM_SCORE_ADJ", "_ENTRY_EVENTS", "_KERNEL_THREAD_FLAG"),
            *("_PF_KTHREAD", "_SCHED_IDLE"),
        }
    ),
    "modes of files": frozenset({"MODE"}),
    "exit codes": frozenset(
        {
            *("OK", "FAILED", "USAGE", "NOT_FOUND", "REFUSED", "UNAVAILABLE", "BROKEN", "RUN_FAILED"),
            *(
                "NOT_EXECUTABLE",
                "NO_COMMAND",
                "HUNG_UP",
                "INTERRUPTED",
                "NO_READER",
                "TERMINATED",
                "REBOOTED",
                "START_FAILED",
            ),
        }
    ),
    "versions of a format or protocol": frozenset({"FORMAT", "PROTOCOL"}),
    "indices and bits of a Sample's counters": frozenset(
        {"PSI_CPU", "PSI_MEMORY", "PSI_IO", "IDLE", "CPUS", "ALL_PARTS"}
    ),
    "numbers that mean no limit, whatever the unit": frozenset({"INFINITY", "NO_RATE"}),
}
"""Constants without a unit, by the reason why they have none."""
OLD_NAMES: Final = frozenset(
    (
        *("native", "discovered", "engineless", "wire", "placing", "kinship", "ceilings", "lacking"),
        *("looking", "changing", "telling", "marks", "claims", "likeness", "patrol", "turn", "turns"),
        *("plan", "told", "room", "spare", "leaf", "keep_off", "lasts", "survives", "kept", "editing"),
        *("held", "its", "one", "shown", "look", "birthplace", "patience"),
    )
)
"""Earlier names of modules, classes and functions that are no standard nouns of the field."""


def _classes(source: Source) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef))


def _numbers(source: Source) -> Iterator[str]:
    """The names of module-level constants that are numbers."""
    for node in source.tree.body:
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        for target in targets:
            pairs = (
                zip(target.elts, value.elts, strict=True)
                if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
                else [(target, value)]
            )
            for name, number in pairs:
                if isinstance(name, ast.Name) and name.id.isupper() and _is_number(number):
                    yield name.id


def _is_number(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_number(node.left) and _is_number(node.right)
    if isinstance(node, ast.UnaryOp):
        return _is_number(node.operand)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _has_unit(name: str) -> bool:
    words = name.strip("_").split("_")
    return words[-1] in UNITS or bool(EXTREMES & set(words))


def test_a_class_name_is_defined_once() -> None:
    """Private classes and messages of Textual are named only within their module or widget."""
    where = defaultdict(list)
    for module, source in SOURCES.items():
        for node in _classes(source):
            if not node.name.startswith("_"):
                where[node.name].append(module)
    assert {name: definitions for name, definitions in where.items() if len(definitions) > 1} == {}


def test_a_constant_that_is_a_number_names_its_unit() -> None:
    exempt = frozenset().union(*UNITLESS.values())
    unnamed = {
        f"{module}.{name}"
        for module, source in SOURCES.items()
        if module not in KERNEL_INTERFACES
        for name in _numbers(source)
        if name not in exempt and not _has_unit(name)
    }
    assert unnamed == set()


def test_every_exemption_is_needed() -> None:
    numbers = {name for source in SOURCES.values() for name in _numbers(source)}
    assert {name for names in UNITLESS.values() for name in names if name not in numbers or _has_unit(name)} == set()


def test_old_names_do_not_come_back() -> None:
    old = set()
    for module, source in SOURCES.items():
        names = [module.rpartition(".")[2]]
        for node in ast.walk(source.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names.append(node.name)
        old |= {f"{module}: {name}" for name in names if name.strip("_").lower() in OLD_NAMES}
    assert old == set()
