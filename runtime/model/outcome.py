"""The result of a change of limits: per limit what was requested, what the engine records, what the kernel holds."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import StrEnum

from runtime.model.container import Ref
from runtime.model.limits import LimitName, Value
from runtime.model.values import Missing


class Verdict(StrEnum):
    """What came of one field of a change, judged by what the kernel holds afterwards."""

    APPLIED = "applied"
    ROUNDED = "rounded"  # the kernel holds the nearest value that it can hold (pages, weight)
    IGNORED = "ignored"  # accepted without an error, and the kernel still holds the old value
    FAILED = "failed"  # refused with an error
    ROLLED_BACK = "rolled back"  # it was written, and taken back because another field failed
    UNREADABLE = "unreadable"  # written, but the kernel's value cannot be read (not live, denied)


@dataclass(frozen=True, slots=True)
class FieldOutcome:
    """One limit: what was requested, what the engine's record says, what the kernel holds.

    `persistent` is whether the container will have this limit again after a restart, None when that is not known.
    """

    name: LimitName
    requested: Value
    before: Value | Missing
    engine: Value | Missing
    kernel: Value | Missing
    verdict: Verdict
    _: KW_ONLY
    detail: str = ""  # the file and its raw text, or what was answered
    persistent: bool | None = None


@dataclass(frozen=True, slots=True)
class LimitOutcome:
    """The result of one change; `ok` only if the kernel holds every value that was asked for."""

    ref: Ref
    fields: tuple[FieldOutcome, ...]
    error: str = ""

    @property
    def ok(self) -> bool:
        return not self.error and all(f.verdict in (Verdict.APPLIED, Verdict.ROUNDED) for f in self.fields)
