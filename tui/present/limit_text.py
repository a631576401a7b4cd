"""Texts of limits: labels, values, outcomes of a change, drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from runtime.kernel import block
from runtime.kernel.cpu_bandwidth import DEFAULT_PERIOD_US
from runtime.limits import ReclaimProgress, same, units
from runtime.model import (
    LIMITS,
    UNLIMITED,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    LimitUnit,
    Missing,
    Unlimited,
    Value,
    Verdict,
)
from tui.core.drift.detector import Drift
from tui.present import format as fmt
from tui.present.limit_entries import ENTRIES
from tui.present.messages import Message, say

LimitValue = Value | Missing


LABELS: Final = {entry.name: entry.label for entry in ENTRIES}
SIZES: Final = frozenset({LimitName.MEMORY, LimitName.MEMORY_HIGH, LimitName.MEMORY_RESERVATION, LimitName.SWAP})
KEPT: Final = say(Message.KEPT)
UNTIL_RESTART: Final = say(Message.UNTIL_RESTART)
DEFAULTS: Final[Mapping[LimitName, Value]] = {
    LimitName.CPU_SHARES: 1024,
    LimitName.CPU_PERIOD: DEFAULT_PERIOD_US,
    LimitName.CPU_BURST: 0,
    LimitName.IO_WEIGHT: 100,
    LimitName.MEMORY_RESERVATION: 0,
}
_INHERITED = frozenset({LimitName.CPUSET_CPUS, LimitName.CPUSET_MEMS})  # unset means the parent's
MISSING_TEXT: Final = {
    Missing.UNSUPPORTED: "this kernel does not offer it",
    Missing.DENIED: "it may not be read here",
    Missing.GONE: "not running",
    Missing.NOT_SAMPLED: "not read yet",
}


def short(device: str) -> str:
    """A disk's name without its directory: "sda"."""
    return device.removeprefix("/dev/")


def format_limit(name: LimitName, value: LimitValue) -> str:
    """A value as text for the form; long sizes are rounded."""
    if isinstance(value, Missing):
        return fmt.GAP
    if isinstance(value, tuple):
        show = str if LIMITS[name].unit is LimitUnit.OPERATIONS_PER_SECOND else units.format_bytes
        return ", ".join(f"{short(block.name(each.device))} {show(each.rate)}" for each in value) or str(UNLIMITED)
    text = units.format_value(name, value)
    if isinstance(value, int) and len(text) > 6 and name in SIZES:
        return fmt.size(value)
    return text


def outcome_text(outcome: FieldOutcome) -> str:
    """One field of an outcome: "CPU cores 0.2 (was unlimited)", with its verdict and detail."""
    name = outcome.name
    now, before = format_limit(name, outcome.kernel), format_limit(name, outcome.before)
    text = f"{LABELS.get(name, name.value)} {now} (was {before})"
    if outcome.persistent is False:
        text += f", {UNTIL_RESTART}"
    if outcome.verdict is not Verdict.APPLIED:
        text += f", {outcome.verdict.value}"
    return f"{text}: {fmt.clean(outcome.detail)}" if outcome.detail else text


def lasting(name: LimitName, held: LimitValue, recorded: Limits) -> str:
    """Whether a limit is kept at a restart; empty where there is none, or the record is unknown.

    A default value (no limit, the default weight) needs no record.
    """
    record = recorded.get(name)
    if isinstance(held, Missing) or record in (Missing.DENIED, Missing.GONE, Missing.NOT_SAMPLED):
        return ""
    if not isinstance(record, Missing) and same(name, record, held) is not None:
        return "" if _is_default(name, held) else KEPT
    return "" if isinstance(record, Missing) and (_is_default(name, held) or name in _INHERITED) else UNTIL_RESTART


def drift_text(found: Drift) -> str:
    """A drifted limit: "CPU cores 2, expected 0.5"."""
    return (
        f"{LABELS.get(found.name, found.name.value)} {format_limit(found.name, found.kernel)},"
        f" expected {format_limit(found.name, found.expected)}"
    )


def replaced_text(now: LimitChange, change: LimitChange) -> str:
    """What a change sets in place of what is held now: "CPU cores from 0.2 to unlimited"."""
    held = {name: format_limit(name, value) for name, value in now.items()}
    return ", ".join(
        f"{LABELS.get(name, name.value)} from {held.get(name, fmt.GAP)} to {format_limit(name, value)}"
        for name, value in change.items()
    )


def folded_text(reasons: Mapping[str, str], of: int, *, unfolded: bool) -> str:
    """Which of the form's `of` limits cannot be set here, the reason where it is none; `reasons` are by label."""
    if len(reasons) == of:
        reason = fmt.clean(Counter(reasons.values()).most_common(1)[0][0])
        return say(Message.NOTHING_CAN_BE_SET_OPEN if unfolded else Message.NOTHING_CAN_BE_SET, reason=reason)
    message = Message.NOT_TO_BE_SET_OPEN if unfolded else Message.NOT_TO_BE_SET
    return say(message, names=", ".join(reasons)) if reasons else ""


def drifts_text(found: Sequence[Drift]) -> str:
    """Which limits somebody else has changed, and the keys for it; empty for none."""
    limits = "; ".join(drift_text(each) for each in found)
    return say(Message.LIMIT_DRIFTED if len(found) == 1 else Message.LIMITS_DRIFTED, limits=limits) if found else ""


def reclaim_text(so_far: ReclaimProgress, width: int) -> str:
    """The progress of a reclaim, as a bar and in numbers."""
    goal = max(1, so_far.current - so_far.target + so_far.reclaimed)
    filled = min(width, max(0, round(width * so_far.reclaimed / goal)))
    bar = "#" * filled + "." * (width - filled)
    return f"[{bar}] uses {fmt.size(so_far.current)}, to come down to {fmt.size(so_far.target)}"


def _is_default(name: LimitName, held: LimitValue) -> bool:
    """The value is the default, which limits nothing."""
    return isinstance(held, Unlimited) or held in ((), "") or held is False or held == DEFAULTS.get(name)


def outcome_lines(fields: tuple[FieldOutcome, ...], *, wide: bool) -> list[str]:
    """An outcome as a table: requested, engine, kernel and verdict of every field; two lines a field if not `wide`."""
    lines: list[str] = []
    if wide:
        lines.append(f"{'':<12}{'asked':>10}{'engine':>10}{'kernel':>10}  {'verdict':<12}restart")
    for field in fields:
        label = LABELS.get(field.name, field.name.value)
        asked, engine, kernel = (format_limit(field.name, v) for v in (field.requested, field.engine, field.kernel))
        verdict = field.verdict.value.upper()
        if wide:
            lasts = {True: KEPT, False: "lost", None: ""}[field.persistent]
            lines.append(f"{label:<12}{asked:>10}{engine:>10}{kernel:>10}  {verdict:<12}{lasts}".rstrip())
        else:
            lasts = {True: f", {KEPT}", False: f", {UNTIL_RESTART}", None: ""}[field.persistent]
            lines += [f"{label}: {verdict}{lasts}", f"  asked {asked} engine {engine} kernel {kernel}"]
        if field.detail:
            lines.append(f"  {fmt.clean(field.detail)}")
    return lines


def conclusion(outcome: LimitOutcome) -> tuple[str, bool]:
    """An outcome in one sentence, and whether it is a failure."""
    if outcome.ok:
        return say(Message.ALL_AS_ASKED), False
    if not outcome.error and all(f.verdict is Verdict.UNREADABLE and f.kernel is Missing.GONE for f in outcome.fields):
        return say(Message.KEPT_FOR_NEXT_START), False
    return outcome.error or say(Message.NOT_ALL_AS_ASKED), True
