"""One finding about one limit of a change, and its severity."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from runtime.model import LimitName


class Severity(StrEnum):
    """The severity of a finding."""

    INFO = "info"
    WARNING = "warning"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding: one sentence about one limit of a change."""

    name: LimitName
    severity: Severity
    text: str
