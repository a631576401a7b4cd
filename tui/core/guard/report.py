"""What the guard reports: one event for each decision that is new, and for what came of it. The words are elsewhere."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import StrEnum

from runtime.containment.rung import RungId
from runtime.errors import PytopError
from runtime.model import LimitChange
from tui.core.guard.situation import Decision


class GuardEventKind(StrEnum):
    """What is reported."""

    STARTED = "started"
    WOULD_DO = "would do"  # dry run
    DONE = "done"
    NOT_DONE = "not done"  # a decision to do nothing, with its reason; told when it differs from the one before
    FAILED = "failed"  # it was tried, and `error` says what the kernel or the engine said
    LOST = "lost"  # what was held has ended by somebody else's hand
    NO_FIGURE = "no figure"  # a victim's command gave none
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class GuardEvent:
    """One event. Names are those of containers, units or programs; "" where there is none.

    Attributes:
        rung, target, change: of a rung that was climbed or would be: what is changed, of whom, as it was read back.
        leases: ids of those that were taken, renewed or ended.
        seconds: for which they hold from now.
        detail: what the error or the end of a lease said.
    """

    kind: GuardEventKind
    wall_ns: int
    _: KW_ONLY
    decision: Decision | None = None
    victim: str = ""
    suspect: str = ""
    rung: RungId | None = None
    target: str = ""
    change: LimitChange | None = None
    leases: tuple[str, ...] = ()
    seconds: float | None = None
    error: PytopError | None = None
    detail: str = ""
