"""The limit editor without a screen: which limits there are, what was typed, what a key makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from collectors.frame import Usage
from runtime.errors import InvalidError
from runtime.limits import units
from runtime.model import FieldOutcome, LimitChange, LimitName, Limits, Missing, Unlimited, Value, Verdict
from tui import format as fmt

Held = Value | Missing


@dataclass(frozen=True, slots=True)
class Entry:
    """One limit in the form; `example` is what an empty field suggests."""

    name: LimitName
    label: str
    example: str


ENTRIES: Final = (
    Entry(LimitName.CPUS, "CPU cores", "0.5"),
    Entry(LimitName.CPU_SHARES, "CPU shares", "1024"),
    Entry(LimitName.CPUSET_CPUS, "CPU set", "0-1"),
    Entry(LimitName.MEMORY, "memory", "512m"),
    Entry(LimitName.MEMORY_HIGH, "mem high", "400m"),
    Entry(LimitName.MEMORY_RESERVATION, "mem reserve", "256m"),
    Entry(LimitName.SWAP, "swap", "0"),
    Entry(LimitName.PIDS, "processes", "200"),
)
LABELS: Final = {entry.name: entry.label for entry in ENTRIES}
NO_UNLIMITED: Final = frozenset({LimitName.CPU_SHARES})
NOT_SCALED: Final = frozenset({LimitName.CPUSET_CPUS, LimitName.CPUSET_MEMS})
WORDS: Final = {
    Missing.UNSUPPORTED: "this kernel does not offer it",
    Missing.DENIED: "it may not be read here",
    Missing.GONE: "not running",
    Missing.NOT_SAMPLED: "not read yet",
}


@dataclass(frozen=True, slots=True)
class Typed:
    """What the fields say together: the change, and per field why it cannot be read."""

    change: LimitChange
    errors: Mapping[LimitName, str]


def read(texts: Mapping[LimitName, str]) -> Typed:
    """Parse every field that is not empty."""
    values: dict[str, Value] = {}
    errors: dict[LimitName, str] = {}
    for name, text in texts.items():
        if not text.strip():
            continue
        try:
            values[name.value] = units.parse_value(name, text.strip())
        except InvalidError as error:
            errors[name] = f"{error.title}. {error.hint}" if error.hint else error.title
    return Typed(LimitChange(**values), errors)  # type: ignore[arg-type]


def shown(name: LimitName, value: Held) -> str:
    """A value as the form shows it; what cannot be typed back exactly is rounded."""
    if isinstance(value, Missing):
        return fmt.GAP
    text = units.format_value(name, value)
    if isinstance(value, int) and len(text) > 8 and name not in (LimitName.CPU_SHARES, LimitName.PIDS):
        return fmt.size(value)
    return text


def scaled(name: LimitName, text: str, held: Held, factor: float, ncpu: int | None) -> str | None:
    """What is typed, or else what the kernel holds, times `factor`; None where that has no meaning.

    Half of unlimited CPU is half of the machine.
    """
    if name in NOT_SCALED:
        return None
    try:
        value: Held = units.parse_value(name, text.strip()) if text.strip() else held
    except InvalidError:
        return None
    if isinstance(value, Unlimited) and name is LimitName.CPUS and ncpu is not None:
        value = float(ncpu)
    if isinstance(value, (str, tuple, Unlimited, Missing)):
        return None
    if name is LimitName.CPUS:
        return units.format_cpus(max(0.01, value * factor))
    if name is LimitName.CPU_SHARES:
        return str(min(262144, max(2, round(value * factor))))
    return units.format_value(name, max(1, int(value * factor)))


def in_use(name: LimitName, usage: Usage | None) -> str:
    """What the container uses of this now, empty where nothing is measured."""
    if usage is None:
        return ""
    match name:
        case LimitName.CPUS:
            value, show = usage.cpu, fmt.cores
        case LimitName.MEMORY:
            value, show = usage.memory, fmt.size
        case LimitName.SWAP:
            value, show = usage.swap, fmt.size
        case LimitName.PIDS:
            value, show = usage.pids, fmt.count
        case _:
            return ""
    return "" if isinstance(value, Missing) else show(value)


def unavailable(name: LimitName, limits: Limits) -> str | None:
    """Why the kernel does not let this limit be set, as far as reading shows."""
    held = limits.get(name)
    return WORDS[held] if held in (Missing.UNSUPPORTED, Missing.DENIED) else None


def told(outcome: FieldOutcome) -> str:
    """One field of a result on one line: "CPU cores 0.2 (was unlimited)"."""
    name = outcome.name
    text = f"{LABELS.get(name, name.value)} {shown(name, outcome.kernel)} (was {shown(name, outcome.before)})"
    return text if outcome.verdict is Verdict.APPLIED else f"{text}, {outcome.verdict.value}"


def report(fields: tuple[FieldOutcome, ...], *, wide: bool) -> list[str]:
    """The result as lines: asked, engine, kernel and verdict for every field; two lines a field when not `wide`."""
    lines: list[str] = []
    if wide:
        lines.append(f"{'':<12}{'asked':>11}{'engine':>11}{'kernel':>11}  verdict")
    for field in fields:
        label = LABELS.get(field.name, field.name.value)
        asked, engine, kernel = (shown(field.name, v) for v in (field.requested, field.engine, field.kernel))
        verdict = field.verdict.value.upper()
        if wide:
            lines.append(f"{label:<12}{asked:>11}{engine:>11}{kernel:>11}  {verdict}")
        else:
            lines += [f"{label}: {verdict}", f"  asked {asked} engine {engine} kernel {kernel}"]
        if field.detail and field.verdict is not Verdict.APPLIED:
            lines.append(f"  {fmt.clean(field.detail)}")
    return lines
